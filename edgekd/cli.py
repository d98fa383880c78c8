"""The command line. Heavy imports stay inside the commands, so that ``edgekd --help`` answers at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.errors import EdgekdError

if TYPE_CHECKING:
    from edgekd.pipeline import Run
    from edgekd.progress import Progress

EXIT_GATE = 1
EXIT_INTERRUPTED = 130


class _Group(click.Group):
    """Turns edgekd's errors into one line and their exit code, and names the nearest command for a mistyped one."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except EdgekdError as error:
            click.echo(f"edgekd: {error}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("edgekd: interrupted. Finished stages are kept; the same command goes on from there", err=True)
            context.exit(EXIT_INTERRUPTED)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            from edgekd.errors import did_you_mean

            names = self.list_commands(context)
            raise click.UsageError(f'unknown command "{args[0]}"{did_you_mean(args[0], names)}') from None


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import edgekd

        click.echo(f"edgekd {edgekd.__version__}")
        context.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """From labelled medical images to a small, proven .tflite in one command.

    Exit codes: 0 built and every gate held; 1 a gate fell short; 2 the input was wrong; 3 the environment lacks
    something; 130 interrupted.
    """


@main.command()
@click.argument("recipe", required=False)
@click.option("--data", metavar="NAME|PATH", help="Data set by name, class folder, or NPZ file.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. Default: edgekd-out/<recipe>.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a recipe key: --set distill.temperature=2."
)
@click.option("--seed", type=int, help="Seed of weights, order and views.")
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--dry-run", is_flag=True, help="Say what would run and what is cached; train nothing.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Store of finished stages.")
@click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only.")
def build(
    recipe: str | None,
    data: str | None,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    until: str | None,
    dry_run: bool,
    cache_dir: Path | None,
    quiet: bool,
) -> None:
    """Build RECIPE: train, distil, prune, quantize, verify, measure, report.

    RECIPE is a built-in name (quickstart, default, pneumoniamnist, breastmnist, cifar100) or a TOML file. Without it:
    quickstart, on drawn blood cells; or default, where --data is given.
    """
    from edgekd import api

    progress = _start_output(quiet)
    overrides = api.parse_overrides(settings)
    if dry_run:
        _print_plan(api.load_recipe(recipe, data=data, overrides=overrides, seed=seed), cache_dir, until)
        return
    run = api.build(
        recipe,
        data=data,
        out=out,
        overrides=overrides,
        seed=seed,
        until=until,
        cache_dir=cache_dir,
        progress=progress,
    )
    _print_run(run)
    if not run.held:
        raise click.exceptions.Exit(EXIT_GATE)


@main.command()
@click.argument("recipe", required=False)
@click.option("--data", metavar="NAME|PATH", help="Data set by name, class folder, or NPZ file.")
@click.option(
    "--methods",
    metavar="NAME[:N],...",
    default="none,kd",
    show_default=True,
    help="Methods, with commas; none is always run. mutual:3 takes the first three seeds alone.",
)
@click.option("--seeds", metavar="N,...", default="0,1,2", show_default=True, help="Seeds of the student, with commas.")
@click.option(
    "--choose-by",
    metavar="FIGURE",
    default="auc",
    show_default=True,
    help="Figure on val that chooses the method: auc, macro_recall, top1 (label_accuracy of several labels).",
)
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Cells trained at a time, each on num_threads of the recipe.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results. Default: edgekd-out/<recipe>-ablation."
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a recipe key.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Store of finished stages.")
@click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only.")
def ablate(
    recipe: str | None,
    data: str | None,
    methods: str,
    seeds: str,
    choose_by: str,
    jobs: int,
    out: Path | None,
    settings: tuple[str, ...],
    cache_dir: Path | None,
    quiet: bool,
) -> None:
    """Does distillation help? Train the student of RECIPE by several methods, from several seeds.

    Methods: none (the student alone), label_smoothing, kd, kd_standardized, dkd, dist, attention, fitnet, rkd, crd,
    mutual, self. All share one teacher. Differences to none are paired by seed; val chooses the method, test tells what
    it gained. A call that was broken off goes on where it was. Two jobs with --set num_threads=1 are faster than one of
    two threads where networks are small.
    """
    from edgekd import api
    from edgekd.ablate import ablate as run_ablation
    from edgekd.ablation_table import markdown
    from edgekd.cache import Cache, default_root
    from edgekd.errors import UserError

    _start_output(quiet)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings))
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f'--seeds "{seeds}": whole numbers with commas between them, like 0,1,2') from None
    folder = out or Path("edgekd-out") / f"{resolved.name}-ablation"
    names = [name.strip() for name in methods.split(",")]
    cache = Cache(cache_dir or default_root())
    document = run_ablation(resolved, names, numbers, folder, cache=cache, jobs=jobs, choose_by=choose_by)
    click.echo(markdown(document))
    click.echo(f"results: {folder / 'ablation.md'}, with the plot; every figure: {folder / 'ablation.json'}")


@main.command()
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

    progress = _start_output(quiet=False)
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
                    *(_number(latency[key], 3) for key in ("p50_ms", "p90_ms", "p99_ms", "init_ms")),
                    f"{figures['peak_rss_bytes'] / 2**20:.0f}",
                ]
            )
    _print_table(["model", "p50 ms", "p90 ms", "p99 ms", "init ms", "peak MiB"], rows)
    for message in facts["warnings"]:
        click.echo(f"note: {message}", err=True)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--android-dir", metavar="DIR", type=click.Path(path_type=Path), help="Android project that gets the bundle."
)
def bundle(run: Path, android_dir: Path | None) -> None:
    """Check the bundle of RUN, and lay it into an Android project.

    RUN is the --out folder of edgekd build, or a bundle folder. Digests, tensors and labels are checked, and the golden
    inputs are run with all three kernels of LiteRT. With --android-dir the bundle goes to app/src/main/assets/edgekd/
    and replaces the one there.
    """
    from edgekd import android

    checked = android.check_bundle(android.find_bundle(run))
    click.echo(f"bundle {checked.path}: recipe {checked.manifest['recipe']}")
    for line in android.describe(checked):
        click.echo(f"  {line}")
    click.echo("check passed: digests, tensors, labels, and the goldens with all three kernels")
    if android_dir is None:
        click.echo("next: lay it into an Android project with --android-dir DIR, or load it: edgekd.load_bundle(path)")
        return
    laid = android.lay_into(checked, android_dir)
    for line in android.next_steps(checked, laid, android_dir):
        click.echo(line)


@main.command()
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
        times = [_number(row[key], 3) for key in ("p50_ms", "p90_ms", "preprocessing_p50_ms")]
        rows.append([row["target"], row["kernel"], str(row["num_threads"]), *times])
    _print_table(["device", "kernel", "threads", "p50 ms", "p90 ms", "preprocessing ms"], rows)
    click.echo(f"report: {run / 'report.html'}")


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each file by its stem, or by its path where two stems are equal."""
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else str(path): path for path in paths}


def _start_output(quiet: bool) -> Progress:
    """Send logs to stderr; return a bar for terminals and plain lines for anything else."""
    from edgekd.progress import BarProgress, LineProgress, Progress

    handler: logging.Handler
    terminal = sys.stderr.isatty()
    if terminal:
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True), show_path=False, show_level=False, omit_repeated_times=False
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("edgekd")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if quiet:
        return Progress()
    return BarProgress() if terminal else LineProgress()


def _print_plan(recipe: Any, cache_dir: Path | None, until: str | None) -> None:
    from edgekd.cache import Cache, default_root
    from edgekd.ensemble import title
    from edgekd.pipeline import plan

    resolved, stages = plan(recipe, cache=Cache(cache_dir or default_root()), until=until)
    click.echo(
        f"recipe {resolved.name}: images of {resolved.data.image_size} pixels, teacher {title(resolved.teacher)}, "
        f"student {resolved.distill.student} {resolved.distill.width_multiplier:g}, seed {resolved.seed}, "
        f"{resolved.num_threads} threads"
    )
    for name, cached in stages:
        click.echo(f"  {name:15} {'cached' if cached else 'to run'}")


def _print_run(run: Run) -> None:
    if run.report is None:
        models = ", ".join(sorted(path.name for path in (run.path / "models").iterdir())) or "none"
        click.echo(f"stopped after {run.stages[-1].name}; models so far in {run.path / 'models'}: {models}")
        return
    from edgekd.stages.report import baseline_of, summary_rows, task_of

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("model", "model", str),
        ("KiB", "kib", lambda value: _number(value, 0)),
        ("gzip KiB", "gzip_kib", lambda value: _number(value, 0)),
        (task_of(run.report).accuracy_title, "accuracy", lambda value: _number(value, 3)),
        ("AUC", "auc", lambda value: _number(value, 3)),
        ("p50 ms", "p50_ms", lambda value: _number(value, 3)),
        ("times smaller", "times_smaller", lambda value: _number(value, 1)),
        ("times faster", "times_faster", lambda value: _number(value, 1)),
    ]
    rows = [[show(row[key]) for _, key, show in columns] for row in summary_rows(run.report)]
    dataset, seed, baseline = run.report["dataset"], run.report["seed"], baseline_of(run.report)["id"]
    _print_table(
        [title for title, _, _ in columns],
        rows,
        title=f"{dataset['name']}, test split, n = {dataset['num_test']}, seed {seed}; against {baseline}",
    )
    for claim in run.report["claims"]:
        click.echo(f"{claim['verdict']}: {claim['text']}")
    for text in run.report["not_measured"]:
        click.echo(f"not measured: {text}")
    for gate in run.report["gates"]:
        verdict = "held" if gate["held"] else "FELL SHORT"
        click.echo(f"gate {gate['id']}: {verdict}, {_plain(gate['measured'])} against {_plain(gate['limit'])}")
    click.echo(f"report: {run.path / 'report.html'}")
    click.echo(f"bundle: {run.path / 'bundle'}")


def _plain(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
