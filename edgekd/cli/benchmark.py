"""``edgekd benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgekd.cli.output import number, print_table, start_output


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL.tflite...")
@click.option("--target", default="host", show_default=True, help="Device profile: threads, kernels, pinning.")
@click.option(
    "--processes", default=5, show_default=True, type=click.IntRange(1, 1000), help="Fresh processes per model."
)
@click.option(
    "--runs", default=100, show_default=True, type=click.IntRange(10, 1_000_000), help="Timed inferences per process."
)
@click.option(
    "--warmup-runs", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Untimed inferences first."
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the order and of made-up input.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def benchmark(
    models: tuple[Path, ...], target: str, processes: int, runs: int, warmup_runs: int, seed: int, as_json: bool
) -> None:
    """Time .tflite files on this machine, interleaved, each in fresh processes."""
    import json
    import tempfile

    from edgekd.config.benchmark import Benchmark
    from edgekd.errors import ModelError
    from edgekd.stages.benchmark import benchmark as measure

    progress = start_output(quiet=False)
    for path in models:
        if not path.is_file():
            raise ModelError(f'"{path}": no such file; a .tflite file is wanted')
    config = Benchmark(target=target, num_processes=processes, num_runs=runs, warmup_runs=warmup_runs)
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(_names(models), None, config, Path(folder), seed=seed, progress=progress).facts
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    rows = []
    for name, figures in facts["models"].items():
        for latency in figures["latency"]:
            rows.append(
                [
                    name,
                    *(number(latency[key], 3) for key in ("p50_ms", "p90_ms", "p99_ms", "init_ms")),
                    f"{figures['peak_rss_bytes'] / 2**20:.0f}",
                ]
            )
    print_table(["model", "p50 ms", "p90 ms", "p99 ms", "init ms", "peak MiB"], rows)
    for message in facts["warnings"]:
        click.echo(f"note: {message}", err=True)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each file by its stem, or by its path where two stems are equal."""
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else str(path): path for path in paths}
