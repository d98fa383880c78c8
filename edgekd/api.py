"""``edgekd.build``: the build as a Python function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd import recipe
from edgekd.cluster import SECONDS_TO_MEET, of_process
from edgekd.errors import UserError

if TYPE_CHECKING:
    from edgekd.pipeline import Run
    from edgekd.progress import Progress

DEFAULT_RECIPE = "quickstart"
OWN_DATA_RECIPE = "default"


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
        until: last stage to run; then a budget is not decided, and the chain is that of the recipe as written.
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
    if resolved.budget.is_set and until is None:
        return budget.build(resolved, folder, cache=cache, progress=progress)
    return pipeline.build(resolved, folder, cache=cache, progress=progress, until=until)


def default_out(resolved: recipe.Recipe) -> Path:
    """The run folder of a recipe where none is named."""
    return Path("edgekd-out") / resolved.name


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
