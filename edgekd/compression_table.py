"""What became of a network that was compressed without training, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.report_format import markdown_cell
from edgekd.tasks import TASKS
from edgekd.units import format_times

Document = Mapping[str, Any]

COLUMNS = ("file", "KiB", "gzip KiB", "parameters", "multiply-accumulates", "p50 ms", "times smaller", "times faster")

STEP_COLUMNS = ("step", "model", "against", "same decision", "largest difference of probabilities")


def markdown(document: Document) -> str:
    """The whole report."""
    parts = [
        f"# {markdown_cell(document['model']['given']['file'])}, compressed",
        verdict(document),
        "**Not a medical device.**",
        f"## Files\n\nAgainst {document['models'][0]['id']}. Latency is host time, p50 with its 95 % interval.",
        _table(columns(document), model_rows(document)),
        "## What each step changed",
        _how(document),
        _table(STEP_COLUMNS, step_rows(document), num_texts=3),
    ]
    if document["channel_pruning"]:
        parts.append(pruning(document))
    parts += [markdown_cell(facts["summary"]) for facts in document["quantization"].values() if "summary" in facts]
    parts += [f"- warning: {markdown_cell(text)}" for text in document["warnings"]]
    parts.append(_reproduction(document))
    return "\n\n".join(parts) + "\n"


def verdict(document: Document) -> str:
    """What is known of the accuracy, in a sentence."""
    if not document["accuracy_measured"]:
        return (
            "**Accuracy was not measured**: no images of the network's own classes were given (`--data`). Its forms "
            "are compared with each other on made-up images, which says nothing of real ones."
        )
    images, task = document["images"], TASKS[document["images"]["task"]]
    first, *others = document["models"]
    text = (
        f"On the test split of {markdown_cell(images['name'])} (n = {images['num_test']}, seed {document['seed']}) "
        f"{first['id']} has a {task.accuracy_title} of {first['test'][task.accuracy]:.3f}"
    )
    changes = [
        f"{row['model']} {100 * row['estimate']:+.1f} points (95 % interval {100 * row['ci95'][0]:+.1f} to "
        f"{100 * row['ci95'][1]:+.1f})"
        for row in document["differences"]
    ]
    return f"{text}; against it {', '.join(changes)}." if others else f"{text}."


def model_rows(document: Document) -> list[list[str]]:
    """Size, cost and latency of each file, and where it was measured its accuracy on test."""
    first, task = document["models"][0], TASKS[document["images"]["task"]]
    rows = []
    for row in document["models"]:
        latency, baseline = row["latency"][0], first["latency"][0]
        ends = latency["p50_ci95_ms"]
        interval = f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
        cells = [
            row["id"],
            f"{row['tflite_bytes'] / 1024:,.1f}",
            f"{row['gzip_bytes'] / 1024:,.1f}",
            f"{row['num_params']:,}",
            f"{row['macs']:,}",
            f"{latency['p50_ms']:.3f}{interval}",
            format_times(first["tflite_bytes"] / row["tflite_bytes"]),
            format_times(baseline["p50_ms"] / latency["p50_ms"]),
        ]
        if document["accuracy_measured"]:
            cells[1:1] = [f"{row['test'][task.accuracy]:.3f}"]
        rows.append(cells)
    return rows


def step_rows(document: Document) -> list[list[str]]:
    """Pairs of networks, from the file to INT8: how often they decide alike, and how far they are apart."""
    given = document["model"]
    rows = [
        ["read", "original", markdown_cell(given["given"]["file"]), "–", f"{given['max_prob_difference']:.1g}"],
    ]
    cut = document["channel_pruning"]
    if cut:
        pair = cut["against_zeroed"]
        rows.append(
            ["channels removed", "pruned", "original with these channels at zero", *_agreement(pair)],
        )
    for pair in document["comparisons"]:
        same = pair["model"].partition("_")[0] == pair["against"].partition("_")[0]
        step = f"converted to {pair['model'].partition('_')[2]}" if same else "channels removed"
        rows.append([step, pair["model"], pair["against"], *_agreement(pair)])
    return rows


def pruning(document: Document) -> str:
    """What the removal of channels left, and what it is not."""
    cut = document["channel_pruning"]
    macs, params = (cut[name]["after"] / cut[name]["before"] for name in ("macs", "num_params"))
    return (
        f"Channels were removed by {cut['criterion']}: {macs:.1%} of the multiply-accumulates and {params:.1%} of the "
        "parameters remain. The surgery is exact; what the channels were worth is gone all the same, as nothing was "
        "trained afterwards. Train `models/pruned.h5` on (Keras 2: pixels 0..255 to logits), or take the original's "
        "INT8 file."
    )


def _agreement(pair: Mapping[str, Any]) -> list[str]:
    return [f"{pair['agreement']:.1%} of {pair['n']}", f"{pair['max_prob_difference']:.2g}"]


def _how(document: Document) -> str:
    images = document["images"]
    count, used = images["num_test"], images["num_calibration"]
    if document["accuracy_measured"]:
        return f"On the {count} test images; INT8 is calibrated on {used} training images."
    return (
        f"On {count} made-up images; INT8 is calibrated on {used} others. They are drawn, seed {document['seed']}: "
        f"{images['source']}."
    )


def columns(document: Document) -> tuple[str, ...]:
    """Head of the table of files."""
    if not document["accuracy_measured"]:
        return COLUMNS
    return (COLUMNS[0], TASKS[document["images"]["task"]].accuracy_title, *COLUMNS[1:])


def _reproduction(document: Document) -> str:
    given, file = document["model"], document["model"]["given"]
    commit = f", commit {document['commit']}" if document["commit"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    scaled = "".join(f", {name} {given[name]}" for name in ("mean", "std") if given[name])
    return (
        f"## Reproduction\n\n{markdown_cell(file['file'])} ({file['kind']}, SHA-256 {file['sha256']}) takes images of "
        f"{given['image_size']} pixels in {given['range'][0]:g} to {given['range'][1]:g}{scaled} and ends with a "
        f"{given['head']} of {given['num_classes']}; every file here takes pixels 0..255. edgekd "
        f"{document['edgekd_version']}{commit}, seed {document['seed']}; {markdown_cell(document['host']['cpu'])}, "
        f"{document['host']['cores']} cores; {versions}."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int = 1) -> str:
    """The first columns are texts, the others numbers."""
    lines = [header, ["---"] * num_texts + ["---:"] * (len(header) - num_texts), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
