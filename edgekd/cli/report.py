"""``edgekd report``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.output import number, print_table


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "files",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Benchmark that the Android app saved; may be given more than once.",
)
def report(run: Path, files: tuple[Path, ...]) -> None:
    """Add what the Android app measured to the report of RUN."""
    from edgekd.device_rows import add_device_rows

    rows = []
    for row in add_device_rows(run, files):
        times = [number(row[key], 3) for key in ("p50_ms", "p90_ms", "preprocessing_p50_ms")]
        rows.append([row["target"], row["kernel"], str(row["num_threads"]), *times])
    print_table(["device", "kernel", "threads", "p50 ms", "p90 ms", "preprocessing ms"], rows)
    click.echo(f"report: {run / 'report.html'}")
