"""``edgekd compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekd.cli.options import CACHE_DIR, verbosity
from edgekd.cli.output import print_table, start_output


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--keep-macs", type=float, help="Fraction of the multiply-accumulates that stay. Default: 0.5; 1 prunes nothing."
)
@click.option("--range", "limits", metavar="LOW,HIGH", help="What the model takes for the grey levels 0 and 255.")
@click.option("--mean", metavar="N[,N,N]", help="Then taken off, for each channel.")
@click.option("--std", metavar="N[,N,N]", help="Then divided by, for each channel.")
@click.option("--data", metavar="NAME|PATH", help="Labelled images in the model's classes. Without: made-up images.")
@click.option("--out", type=click.Path(path_type=Path), help="Results. Default: edgekd-out/<model>-compressed.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Set a recipe key: --set quantize.mixed=auto."
)
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@verbosity
def compress(
    model: Path,
    keep_macs: float | None,
    limits: str | None,
    mean: str | None,
    std: str | None,
    data: str | None,
    out: Path | None,
    settings: tuple[str, ...],
    cache_dir: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make a trained Keras MODEL smaller: channel pruning and INT8, without training.

    MODEL is a .h5 or .keras file of Keras 2 or 3. Without --data no accuracy is measured: the report says how far the
    forms of the network agree on made-up images. Nothing is trained, so that pruning costs accuracy; --keep-macs 1
    leaves it out.
    """
    import json

    from edgekd import api
    from edgekd.cache import Cache, default_root
    from edgekd.compress import compress as run
    from edgekd.compress_settings import load
    from edgekd.compression_table import STEP_COLUMNS, columns, model_rows, step_rows, verdict

    progress = start_output(quiet, verbose)
    overrides: dict[str, Any] = api.parse_overrides(settings)
    if data is not None:
        overrides |= api.data_changes(data)
    if keep_macs is not None:
        overrides["prune.keep_macs"] = keep_macs
    for name, text in (("range", limits), ("mean", mean), ("std", std)):
        if text is not None:
            overrides[f"teacher.file.{name}"] = _numbers(f"--{name}", text)
    folder = out or Path("edgekd-out") / f"{model.stem}-compressed"
    document = run(load(model, overrides), folder, cache=Cache(cache_dir or default_root()), progress=progress)
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    print_table(columns(document), model_rows(document))
    print_table(STEP_COLUMNS, step_rows(document))
    click.echo(verdict(document).replace("**", ""))
    for text in document["warnings"]:
        click.echo(f"warning: {text}")
    click.echo(f"report: {folder / 'compression.md'}; every figure: {folder / 'compression.json'}")


def _numbers(option: str, text: str) -> list[float]:
    from edgekd.errors import UserError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f'{option} "{text}": numbers with commas between them, like 0,255') from None
