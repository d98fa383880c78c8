"""``edgekd benchmark``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgekd.cli.output import print_table, printable, start_output
from edgekd.cli.outside import Wishes, outside_options


def _words(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Words with commas between them."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in _words(context, parameter, value))
    except ValueError:
        raise click.BadParameter(f'"{value}": whole numbers with commas between them are wanted, as in 1,2,4') from None


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL.tflite...")
@click.option("--data", metavar="NAME|PATH", help="Time on the test images of this data set.")
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Time on these image files, and time decoding and resizing too. May be given several times.",
)
@click.option("--target", default="host", show_default=True, help="Device profile: threads, kernels, pinning.")
@click.option("--kernels", callback=_words, metavar="LIST", help="Further kernels: xnnpack,builtin,reference.")
@click.option("--threads", callback=_numbers, metavar="LIST", help="Further thread counts, as in 1,2,4.")
@click.option(
    "--processes", default=10, show_default=True, type=click.IntRange(1, 1000), help="Fresh processes per model."
)
@click.option(
    "--runs", default=100, show_default=True, type=click.IntRange(10, 1_000_000), help="Timed inferences per process."
)
@click.option(
    "--warmup-runs",
    default=20,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Untimed inferences first, at least; they go on until the times are steady.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the order and of made-up input.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for latency.json, with every run, and the distributions."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@outside_options
def benchmark(
    models: tuple[Path, ...],
    data: str | None,
    images: tuple[Path, ...],
    target: str,
    kernels: tuple[str, ...],
    threads: tuple[int, ...],
    processes: int,
    runs: int,
    warmup_runs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    **outside: Any,
) -> None:
    """Time .tflite files on this machine, or on a device, interleaved, each in fresh processes.

    Every percentile stands with its 95 % interval, which the differences between processes make. Models are compared
    with the first one, round by round: faster, slower, or within noise. Without --data or --images the input is made
    up, and said to be. What makes the figures doubtful, such as a busy neighbour or throttling, is told.
    """
    import json
    import tempfile

    from edgekd import pictures
    from edgekd.config.benchmark import Benchmark
    from edgekd.errors import ModelError, UserError
    from edgekd.stages.benchmark import benchmark as measure

    progress = start_output(quiet=False)
    for path in models:
        if not path.is_file():
            raise ModelError(f'"{path}": no such file; a .tflite file is wanted')
    if data is not None and images:
        raise UserError("--data and --images: give one of them")
    shown = pictures.of_data(data) if data is not None else pictures.of_files(images) if images else None
    wishes = Wishes(**outside, session=(processes, runs, warmup_runs, seed), target=target, pictures=shown)
    if wishes.device:
        wishes.measure_on_device(_names(models), as_json, progress)
        return
    wishes.check(_names(models))
    config = Benchmark(target=target, num_processes=processes, num_runs=runs, warmup_runs=warmup_runs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = measure(
            _names(models), shown, config, folder, kernels=kernels, threads=threads, seed=seed, progress=progress
        ).facts
        if out is not None:
            _write(facts, folder, out)
    facts = {**facts, **wishes.measure(_names(models), progress)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
        wishes.show(facts)


def _write(facts: Mapping[str, Any], folder: Path, out: Path) -> None:
    """Lay down the figures, every run, and the plot."""
    from edgekd import host
    from edgekd.artifact import read_json, write_json
    from edgekd.errors import writing_to
    from edgekd.latency_plot import plot
    from edgekd.stages.benchmark import RUNS_FILE

    runs = read_json(folder / RUNS_FILE)
    found = {"host": {**host.host(), **facts["host"]}, "versions": host.versions(), "commit": host.commit()}
    with writing_to(out, "name another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "latency.json", {**facts, **found, "runs": runs})
        plot(facts["models"], runs, out)


def _print(facts: Mapping[str, Any]) -> None:
    rows = []
    for name, figures in facts["models"].items():
        row = figures["latency"][0]
        percentiles = [_with_interval(row[f"p{at}_ms"], row[f"p{at}_ci95_ms"]) for at in (50, 90, 99)]
        once = [_ms(row["init_ms"]), _ms(row["first_ms"])]
        sizes = [f"{figures['tflite_bytes'] / 1024:,.0f}", f"{figures['peak_rss_bytes'] / 2**20:.0f}"]
        rows.append([name, *percentiles, *once, *sizes])
    print_table(["model", "p50 ms", "p90 ms", "p99 ms", "init ms", "first ms", "KiB", "peak MiB"], rows)
    ratios = [[row["model"], row["baseline"], *_verdict(row)] for row in facts["ratios"]]
    if ratios:
        print_table(["model", "against", "times as long", "verdict"], ratios)
    scaling = [
        [f"{row['model']}, {row['kernel']}", f"{row['num_threads']}", *_verdict(row)] for row in facts["scaling"]
    ]
    if scaling:
        base = facts["scaling"][0]["baseline"]
        title = f"against {base['kernel']} on {base['num_threads']} thread{'s' if base['num_threads'] > 1 else ''}"
        print_table(["model, kernels", "threads", "times as long", "verdict"], scaling, title=title)
    for name, figures in facts["models"].items():
        if "preprocessing" in figures:
            apart = figures["preprocessing"]
            click.echo(
                printable(
                    f"{name}: preprocessing {_ms(apart['p50_ms'])} ms (p50 of {apart['num_images']} image files), "
                    f"decoding {_ms(apart['decode_p50_ms'])}, resizing {_ms(apart['resize_p50_ms'])}"
                )
            )
    for message in facts["warnings"]:
        click.echo(printable(f"note: {message}"), err=True)


def _ms(value: float | None) -> str:
    """Three digits that count; a dash where there are too few runs."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _with_interval(value: float | None, ends: Sequence[float] | None) -> str:
    return _ms(value) if ends is None else f"{_ms(value)} [{_ms(ends[0])}, {_ms(ends[1])}]"


def _verdict(row: Mapping[str, Any]) -> list[str]:
    """A ratio with its interval, and what it says."""
    ends = "" if row["ci95"] is None else f" [{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]"
    return [f"{row['ratio']:.3f}{ends}", row["verdict"]]


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each file by its stem, or by its path where two stems are equal."""
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else str(path): path for path in paths}
