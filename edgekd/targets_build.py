"""One recipe for several targets: for each a run of its own, and one page that compares them.

::

    OUT/host-as-phone-1t/   a run folder, as of a build for that target alone
    OUT/microcontroller/
    OUT/targets.html  targets.md  targets.json

The runs meet in the cache: whatever does not depend on the target is trained once.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import budget, target, targets_page
from edgekd.cache import Cache
from edgekd.errors import (
    BenchmarkError,
    ConversionError,
    ModelError,
    OutputError,
    RecipeError,
    TrainingError,
    UserError,
)
from edgekd.pipeline import Run
from edgekd.preflight import check_names
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.run_folder import RunFolder, is_run
from edgekd.target import Target
from edgekd.targets_page import NAME

logger = logging.getLogger("edgekd")

# What may be the matter with one target alone; anything else would meet the next one too.
_OF_ONE = (RecipeError, ModelError, ConversionError, TrainingError, BenchmarkError)


@dataclass(frozen=True)
class TargetRuns:
    """A recipe built for several targets.

    Attributes:
        path: the folder with a run folder for each, and the page.
        runs: by target, in the order in which they were named.
        problems: why a target has no run, by target.
        comparison: what ``targets.json`` holds.
    """

    path: Path
    runs: Mapping[str, Run]
    problems: Mapping[str, str]
    comparison: Mapping[str, Any]

    @property
    def held(self) -> bool:
        """Whether every target has a run, and each run kept all of its limits."""
        return not self.problems and all(run.held for run in self.runs.values())


def recipes_for(recipe_: Recipe, targets: Sequence[str]) -> dict[Target, Recipe]:
    """The recipe for each target, checked: what is wrong with the last one shows before the first is trained.

    Args:
        recipe_: validated; its ``benchmark.target`` is replaced.
        targets: profiles by name, or by the path of one's own.

    Raises:
        UserError: no target, or the same twice.
        RecipeError: an unknown target, or one that the recipe asks for what it does not give.
        MissingRequirementError: what a target needs is not installed.
    """
    if not targets:
        raise UserError("targets: name at least one; edgekd target list shows them")
    made: dict[Target, Recipe] = {}
    for given in targets:
        profile = target.load(given)
        if profile.name in {one.name for one in made}:
            raise UserError(
                f'target "{given}": there is a target "{profile.name}" already, and each has a folder of its name; '
                "name it once"
            )
        for_it = dataclasses.replace(recipe_, benchmark=dataclasses.replace(recipe_.benchmark, target=given))
        check_names(for_it)
        made[profile] = for_it
    return made


def build(
    recipe_: Recipe, targets: Sequence[str], out: Path, *, cache: Cache, progress: Progress | None = None
) -> TargetRuns:
    """Build a recipe for each target: the first chain that keeps the target's limits, or else the nearest to them.

    A target for which nothing can be built, or nothing fits, does not stop those after it. The page is written anew
    after each, so that it is there whatever happens to the next.

    Args:
        recipe_: validated.
        targets: profiles by name, or by the path of one's own.
        out: folder of the runs and the page.
        cache: store of finished stages.
        progress: where long work is shown.

    Raises:
        OutputError: a folder that holds something else, or that cannot be written.
        EdgekdError: as :func:`recipes_for`, or what is wrong for every target, such as images that cannot be read.
    """
    recipes = recipes_for(recipe_, targets)
    _check_place(out, [profile.name for profile in recipes])
    runs: dict[str, Run] = {}
    problems: dict[str, str] = {}
    comparison = targets_page.write(recipe_, recipes, {}, {}, out)
    for number, (profile, for_it) in enumerate(recipes.items(), 1):
        logger.info(f"target {profile.name}, {number} of {len(recipes)}")
        try:
            runs[profile.name] = budget.build(for_it, out / profile.name, cache=cache, progress=progress)
        except _OF_ONE as error:
            problems[profile.name] = str(error)
            logger.warning(f"target {profile.name}: {error}")
        except KeyboardInterrupt as error:
            error.add_note(f"at target {profile.name}. {_kept(runs, out)}")
            raise
        reports = {name: run.report for name, run in runs.items() if run.report is not None}
        comparison = targets_page.write(recipe_, recipes, reports, problems, out)
    return TargetRuns(out, runs, problems, comparison)


def _kept(runs: Mapping[str, Run], out: Path) -> str:
    if not runs:
        return "No other target was finished; finished stages are kept"
    return f"Kept: finished stages, the runs of {', '.join(runs)}, and {out / f'{NAME}.html'}, which compares them"


def _check_place(out: Path, names: Sequence[str]) -> None:
    """Raise unless the folder is new, empty, or one of ours, and each run's folder may be written."""
    if is_run(out):
        raise OutputError(f'"{out}" is the run of one target; name another folder with --out')
    if out.is_dir():
        ours = {f"{NAME}.{form}" for form in ("html", "md", "json")}
        for entry in sorted(out.iterdir()):
            if entry.name in ours or is_run(entry) or (entry.is_dir() and not any(entry.iterdir())):
                continue
            raise OutputError(f'"{out}" holds {entry.name}, which is no run, and is left alone; name a new folder')
    for name in names:
        RunFolder(out / name).close()
