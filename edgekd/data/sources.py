"""Every data set by name, and the choice between a name and a path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgekd.data import medmnist
from edgekd.data.cifar100 import load_cifar100
from edgekd.data.folder import load_folder
from edgekd.data.npz import load_npz
from edgekd.data.source import Source
from edgekd.data.synthetic_cells import load_synthetic_cells
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.registry import Registry

Loader = Callable[[Data], Source]

DATASETS: Registry[Loader] = Registry("data set", "edgekd.datasets", DataError)


def _without_path(name: str, loader: Loader, config: Data) -> Source:
    if config.path:
        raise DataError(
            f'data set "{name}" takes no path; for "{config.path}" leave data.name empty, or use the recipe default'
        )
    return loader(config)


DATASETS.register("synthetic_cells")(partial(_without_path, "synthetic_cells", load_synthetic_cells))
DATASETS.register("cifar100")(partial(_without_path, "cifar100", load_cifar100))


def _load_medmnist(name: str, config: Data) -> Source:
    medmnist.require_supported(name)
    path = Path(config.path) if config.path else medmnist.fetch(name, medmnist.cache_folder())
    return load_npz(path, name, config)


for _name in medmnist.TABLE:
    DATASETS.register(_name)(partial(_load_medmnist, _name))


def load_source(config: Data) -> Source:
    """Find the data set that a recipe names.

    Raises:
        DataError: unknown name, nothing at the path, or data that cannot be used.
    """
    path = Path(config.path)
    if config.path and not path.exists():
        raise DataError(f'data.path = "{config.path}": no such file or folder')
    if config.name:
        return DATASETS[config.name](config)
    if path.is_dir():
        return load_folder(path, config)
    if path.suffix.lower() == ".npz":
        known = path.stem in medmnist.TABLE
        if known:
            medmnist.require_supported(path.stem)
        return load_npz(path, path.stem if known else "", config)
    raise DataError(
        f'data.path = "{config.path}": a folder of classes or an .npz file is wanted; other files are not read'
    )
