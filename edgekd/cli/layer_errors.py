"""``edgekd layer-errors``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR
from edgekd.cli.output import print_table, start_output
from edgekd.report_format import number


@click.command("layer-errors")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", metavar="NAME|PATH", help="Where the images of the recipe's data set are now.")
@click.option(
    "--images", default=64, show_default=True, type=click.IntRange(1, 10_000), help="Images of val to compare on."
)
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Rows of the table.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures of every layer as JSON.")
@click.option("--into-report", is_flag=True, help="Set the figures into the report of RUN too.")
@CACHE_DIR
def layer_errors(
    run: Path, data: str | None, images: int, top: int, as_json: bool, into_report: bool, cache_dir: Path | None
) -> None:
    """Which layers of RUN does INT8 hurt? Signal against noise of each, in decibels, worst first.

    RUN is the --out folder of edgekd build. The first figure is that of the logits with this layer alone in INT8, by
    which layers are ranked; the second that of the layer's own output with the whole model in INT8. 20 dB is an error
    of a tenth, 40 dB one of a hundredth. Layers that stand out can stay in float: quantize.float_layers, or
    quantize.mixed = "auto".
    """
    import json

    from edgekd.cache import Cache, default_root
    from edgekd.layer_errors import layer_errors as measure

    progress = start_output(quiet=False)
    cache = Cache(cache_dir or default_root())
    document = measure(run, data=data, num_images=images, cache=cache, progress=progress)
    if into_report:
        from edgekd.rewrite import rewrite

        names = ("split", "num_images", "fp32", "int8", "layers")
        rewrite(run, lambda report: report.update(layer_errors={name: document[name] for name in names}))
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    rows = [
        [row["layer"], row["operator"], _decibels(row["logits_snr_db"]), _decibels(row["output_snr_db"])]
        for row in document["layers"][:top]
    ]
    print_table(
        ["layer", "operator", "alone, at the logits, dB", "INT8, at its output, dB"],
        rows,
        title=f"{document['int8']} against {document['fp32']}, {document['num_images']} images of val",
    )
    left_out = len(document["layers"]) - len(rows)
    if left_out:
        click.echo(f"{left_out} more with less error; --top {len(document['layers'])} shows all")


def _decibels(value: float | None) -> str:
    return "no error" if value is None else number(value, 1)
