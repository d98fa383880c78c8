"""``edgekd inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import print_table, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@click.command()
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.tflite")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """What is in a .tflite, whether it answers, and who will not like it.

    Any file may be given, also a stranger's: it is read with bounds checked, and run on made-up pictures in a process
    of its own. What is said of MediaPipe, NPUs and TFLite Micro is a forecast from the tables that they publish.
    """
    import json

    from edgekd.inspect import inspect as inspect_model

    found = inspect_model(model)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in _head(found):
        click.echo(printable(line))
    total = found["macs"]
    rows = [
        [
            row["name"],
            f"{row['count']}",
            f"{row['macs']:,}",
            f"{row['macs'] / total:.1%}" if total else "–",
            ", ".join(row["weights"]).replace("_", " "),
        ]
        for row in found["operators"]
    ]
    print_table(["operator", "count", "MACs", "share", "weights"], rows)
    for line in _findings(found):
        click.echo(printable(line))


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    from edgekd.units import format_bytes

    yield f"{found['file']}: {found['bytes']:,} bytes ({format_bytes(found['bytes'])}), SHA-256 {found['sha256']}"
    types = f"weights {_types(found['weight_types'])}; tensors {_types(found['activation_types'])}"
    yield f"  arithmetic: {found['dtype']}; {types}"
    for side in ("inputs", "outputs"):
        for row in found[side]:
            yield f"  {side[:-1]}: {_tensor(row)}"
    zeros = "" if found["measured_sparsity"] is None else f", {found['measured_sparsity']:.1%} of the weights are zeros"
    yield f"  {found['macs']:,} multiply-accumulates, {found['num_params']:,} parameters{zeros}"
    if found["num_subgraphs"] > 1:
        yield f"  {found['num_subgraphs']} subgraphs; the first is shown"


def _findings(found: Mapping[str, Any]) -> Iterator[str]:
    for names in found["float_islands"]:
        yield f"float island: {' '.join(names)}; convert with a representative data set, or leave that layer out"
    if not found["float_islands"]:
        yield "float islands: none"
    yield _metadata(found["metadata"])
    yield _run(found["run"])
    for row in found["forecasts"]:
        yield f"{row['client']}: {_taken(row)} (forecast from {row['table']})"
        for objection in row["objections"]:
            yield f"  - {objection['text']}; remedy: {objection['remedy']}"


def _types(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _tensor(row: Mapping[str, Any]) -> str:
    shape = " x ".join("any" if side < 0 else str(side) for side in row["shape"]) or "scalar"
    text = f"{row['name'] or 'without a name'}, {row['dtype']} {shape}"
    if "scale" in row:
        text += f", scale {row['scale']:.6g}, zero point {row['zero_point']}"
    if "range" in row:
        text += f": real numbers {row['range'][0]:.4g} to {row['range'][1]:.4g}"
    return text


def _metadata(metadata: Mapping[str, Any] | None) -> str:
    if metadata is None:
        return "metadata: none"
    parts = [metadata["name"] or "without a name"]
    if metadata["num_labels"]:
        shown = ", ".join(metadata["labels"][:3])
        more = f" and {metadata['num_labels'] - 3} more" if metadata["num_labels"] > 3 else ""
        parts.append(f"{metadata['num_labels']} labels in {metadata['labels_file']} ({shown}{more})")
    if metadata["mean"]:
        ends = [", ".join(f"{value:g}" for value in metadata[key]) for key in ("mean", "std")]
        parts.append(f"normalization: mean {ends[0]}, std {ends[1]}")
    return f"metadata: {'; '.join(parts)}"


def _run(run: Mapping[str, Any]) -> str:
    if not run["ran"]:
        return f"run: NOT RUN: {run['reason']}"
    if run["constant"]:
        return (
            "run: CONSTANT OUTPUT: the same for every made-up picture; the model is untrained or dead, train it again"
        )
    if not run["finite"]:
        return "run: the output holds NaN or infinity for made-up pictures; check the weights and the input's range"
    return "run: the output depends on the input (made-up pictures)"


def _taken(row: Mapping[str, Any]) -> str:
    if "num_operators" not in row:
        count = len(row["objections"])
        return {0: "no objection", 1: "one objection"}.get(count, f"{count} objections")
    share = "" if row["macs_share"] is None else f", {row['macs_share']:.1%} of the multiply-accumulates"
    return f"takes {row['operators_taken']} of {row['num_operators']} operators{share}"
