"""``edgekd build``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import number, print_table, start_output

if TYPE_CHECKING:
    from edgekd.pipeline import Run

EXIT_GATE = 1


@click.command()
@click.argument("recipe", required=False)
@click.option("--data", metavar="NAME|PATH", help="Data set by name, folder, table, TFRecord or NPZ file.")
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

    progress = start_output(quiet)
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
        click.echo(f"  {name:18} {'cached' if cached else 'to run'}")
    if recipe.budget.is_set and until is None:
        _print_ladder(recipe)


def _print_ladder(recipe: Any) -> None:
    from edgekd import ladder
    from edgekd.report_format import settings

    click.echo("budget: the chain above, and where that falls short on val others, until one holds")
    ways = {
        "accuracy or a recall falls short": (*ladder.QUANTIZATION, *ladder.LESS_PRUNING),
        "bytes or milliseconds fall short": (*ladder.MORE_PRUNING, *ladder.QUANTIZATION),
    }
    for missed, rungs in ways.items():
        click.echo(f"  where {missed}:")
        for name in ladder.applicable(recipe, rungs):
            click.echo(f"    {name:16} {settings(ladder.changes(recipe, [name]))}")


def _print_run(run: Run) -> None:
    if run.report is None:
        models = ", ".join(sorted(path.name for path in (run.path / "models").iterdir())) or "none"
        click.echo(f"stopped after {run.stages[-1].name}; models so far in {run.path / 'models'}: {models}")
        return
    from edgekd.page import baseline_of, summary_rows, task_of

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("model", "model", str),
        ("KiB", "kib", lambda value: number(value, 0)),
        ("gzip KiB", "gzip_kib", lambda value: number(value, 0)),
        (task_of(run.report).accuracy_title, "accuracy", lambda value: number(value, 3)),
        ("AUC", "auc", lambda value: number(value, 3)),
        ("p50 ms", "p50_ms", lambda value: number(value, 3)),
        ("times smaller", "times_smaller", lambda value: number(value, 1)),
        ("times faster", "times_faster", lambda value: number(value, 1)),
    ]
    rows = [[show(row[key]) for _, key, show in columns] for row in summary_rows(run.report)]
    dataset, seed, baseline = run.report["dataset"], run.report["seed"], baseline_of(run.report)["id"]
    print_table(
        [title for title, _, _ in columns],
        rows,
        title=f"{dataset['name']}, test split, n = {dataset['num_test']}, seed {seed}; against {baseline}",
    )
    for claim in run.report["claims"]:
        click.echo(f"{claim['verdict']}: {claim['text']}")
    for text in run.report["not_measured"]:
        click.echo(f"not measured: {text}")
    for gate in run.report["gates"]:
        _print_limit("gate", gate)
    for row in (run.report["target"] or {"limits": []})["limits"]:
        _print_limit("target", row)
    if budget := run.report["budget"]:
        _print_budget(budget, run.report["candidates"])
    click.echo(f"report: {run.path / 'report.html'}")
    click.echo(f"bundle: {run.path / 'bundle'}")


def _print_budget(budget: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> None:
    from edgekd.report_format import settings

    for tried in candidates:
        if "candidate" in tried:
            click.echo(f"tried {tried['candidate']}: {tried['reason']}")
    for row in budget["limits"]:
        _print_limit("budget", row)
    held = all(row["held"] for row in budget["limits"])
    verdict = "keeps the budget" if held else "is the nearest to a budget that is NOT KEPT"
    click.echo(f"budget: {budget['candidate']} is shipped ({settings(budget['changes'])}); it {verdict}")


def _print_limit(title: str, row: Mapping[str, Any]) -> None:
    verdict = "held" if row["held"] else "FELL SHORT"
    click.echo(f"{title} {row['id']}: {verdict}, {_plain(row['measured'])} against {_plain(row['limit'])}")


def _plain(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
