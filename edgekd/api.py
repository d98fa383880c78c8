"""``edgekd.build``: the build as a Python function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd import recipe
from edgekd.cluster import SECONDS_TO_MEET, of_process
from edgekd.errors import UserError

if TYPE_CHECKING:
    from edgekd.pipeline import Run
    from edgekd.progress import Progress
    from edgekd.targets_build import TargetRuns

DEFAULT_RECIPE = "quickstart"
OWN_DATA_RECIPE = "default"
TARGET_KEY = "benchmark.target"
ONE_WORKER = "several targets are built by one worker; build without --workers and TF_CONFIG, or each target by itself"


def build(
    recipe_name: str | None = None,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    until: str | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    workers: int = 1,
    seconds_to_meet: float = SECONDS_TO_MEET,
) -> Run:
    """Build a recipe: from images to a measured .tflite, its report and its bundle.

    Args:
        recipe_name: a built-in recipe (``"pneumoniamnist"``) or the path of a TOML file. None means ``quickstart``, or
            ``default`` where ``data`` is given.
        data: a data set's name, or the path of a folder, a table, a TFRecord or an NPZ file; replaces the recipe's.
            Where the recipe names a data set, a path is that set's file.
        out: run folder; ``edgekd-out/<recipe>`` by default.
        overrides: dotted recipe keys and their values.
        seed: replaces the recipe's.
        until: last stage to run; then no limit decides, and the chain is that of the recipe as written.
        cache_dir: store of finished stages; the platform's cache folder by default.
        progress: where long work is shown.
        workers: processes of this machine that train together. 1: this one alone, or the cluster that ``TF_CONFIG``
            in the environment names, whose workers all build the same and share ``cache_dir``.
        seconds_to_meet: longest time that workers wait for each other at the start.

    Returns:
        The run: its folder, its report and whether every gate held.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`.
    """
    from edgekd import budget, pipeline
    from edgekd.cache import Cache, default_root

    resolved = load_recipe(recipe_name, data=data, overrides=overrides, seed=seed)
    folder = Path(out) if out is not None else default_out(resolved)
    cache = Cache(Path(cache_dir) if cache_dir is not None else default_root())
    if cluster := of_process(workers):
        options: dict[str, Any] = {"cluster": cluster, "seconds_to_meet": seconds_to_meet}
        return pipeline.build(resolved, folder, cache=cache, progress=progress, until=until, **options)
    if until is None:
        return budget.build(resolved, folder, cache=cache, progress=progress)
    return pipeline.build(resolved, folder, cache=cache, progress=progress, until=until)


def build_targets(
    recipe_name: str | None,
    targets: Sequence[str],
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> TargetRuns:
    """Build a recipe for several targets: for each a run that keeps the target's limits, and a page that compares them.

    Args:
        recipe_name: as of :func:`build`.
        targets: profiles by name, or by the path of one's own, in the place of ``benchmark.target``.
        out: folder with a run folder for each, and ``targets.html``; ``edgekd-out/<recipe>-targets`` by default.
        data, overrides, seed, cache_dir, progress: as of :func:`build`.

    Returns:
        The runs, why a target has none, and whether each run kept all of its limits.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`; what is wrong with one target alone is no error, and stands in its row.
    """
    from edgekd import targets_build
    from edgekd.cache import Cache, default_root

    if TARGET_KEY in (overrides or {}):
        raise UserError(
            f"{TARGET_KEY} = {(overrides or {})[TARGET_KEY]!r}: targets stand in its place; name it among them"
        )
    if of_process(1) is not None:
        raise UserError(ONE_WORKER)
    resolved = load_recipe(recipe_name, data=data, overrides=overrides, seed=seed)
    folder = Path(out) if out is not None else default_out(resolved, several=True)
    cache = Cache(Path(cache_dir) if cache_dir is not None else default_root())
    return targets_build.build(resolved, targets, folder, cache=cache, progress=progress)


def default_out(resolved: recipe.Recipe, *, several: bool = False) -> Path:
    """The run folder of a recipe where none is named, or the folder of the runs of several targets."""
    return Path("edgekd-out") / (f"{resolved.name}-targets" if several else resolved.name)


def load_recipe(
    recipe_name: str | None = None,
    *,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> recipe.Recipe:
    """Load the recipe that the arguments of :func:`build` name, validated."""
    changes = dict(overrides or {})
    if seed is not None:
        changes["seed"] = seed
    if data is not None:
        changes |= data_changes(str(data))
    if recipe_name is None:
        recipe_name = DEFAULT_RECIPE if data is None else OWN_DATA_RECIPE
    return recipe.load(recipe_name, changes)


def data_changes(text: str, option: str = "--data") -> dict[str, str]:
    """``--data`` takes what exists on disk as a path, and anything else as the name of a data set.

    Args:
        text: what was given.
        option: what messages call it.

    Raises:
        DataError: neither; a folder beside us with nearly that name is named.
    """
    from edgekd.data import DATASETS

    if Path(text).exists():
        return {"data.path": text}
    if text in DATASETS:
        return {"data.name": text, "data.path": ""}
    from edgekd.errors import DataError, did_you_mean

    if "/" in text or "\\" in text or "." in text:
        raise DataError(f'{option} "{text}": no such file or folder')
    here = [path.name for path in Path().iterdir() if path.is_dir() and not path.name.startswith(".")]
    near = did_you_mean(text, [*DATASETS, *here])
    if "did you mean" not in near:
        near = did_you_mean(text, DATASETS)
    raise DataError(f'{option} "{text}" is neither a file, a folder nor a known data set{near}')


def parse_overrides(settings: tuple[str, ...]) -> dict[str, Any]:
    """Read ``("distill.temperature=2.0", ...)``.

    Raises:
        UserError: no equals sign.
    """
    changes = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise UserError(f'--set "{setting}": key=value is wanted, for example --set distill.temperature=2.0')
        changes[key.strip()] = recipe.parse_value(value.strip())
    return changes
