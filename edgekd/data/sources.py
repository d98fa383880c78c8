"""Every data set by name, and the choice between a name and a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgekd.config.data import Data
from edgekd.data import medmnist, rows, tfrecord
from edgekd.data.arrange import arrange
from edgekd.data.cifar100 import load_cifar100
from edgekd.data.dicom_headers import with_headers
from edgekd.data.folder import SUFFIXES, list_folder, walk
from edgekd.data.npz import load_npz
from edgekd.data.source import Listing, Source
from edgekd.data.synthetic_cells import load_synthetic_cells
from edgekd.data.table import list_table
from edgekd.errors import DataError
from edgekd.registry import Registry

Loader = Callable[[Data], Source]

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")

DATASETS: Registry[Loader] = Registry("data set", "edgekd.datasets", DataError)


# Keys about columns, and all that say how own files are to be read.
COLUMN_KEYS = ("path_column", "label_column", "label_columns", "patient_column", "split_column")
OWN_KEYS = ("table", *COLUMN_KEYS, "patient_pattern", "subgroup_columns", "classes")


def _refuse(config: Data, keys: Sequence[str], what: str) -> None:
    """No key that is set may be passed over: who names a patient's column relies on it."""
    for key in keys:
        if getattr(config, key):
            raise DataError(
                f"data.{key} is set, and {what} has no use for it; leave it out, or give a table (data.table)"
            )


def _without_path(name: str, loader: Loader, config: Data) -> Source:
    _refuse(config, OWN_KEYS, f'data set "{name}"')
    if config.path:
        raise DataError(
            f'data set "{name}" takes no path; for "{config.path}" leave data.name empty, or use the recipe default'
        )
    return loader(config)


DATASETS.register("synthetic_cells")(partial(_without_path, "synthetic_cells", load_synthetic_cells))
DATASETS.register("cifar100")(partial(_without_path, "cifar100", load_cifar100))


def _load_medmnist(name: str, config: Data) -> Source:
    _refuse(config, OWN_KEYS, f'data set "{name}"')
    path = Path(config.path) if config.path else medmnist.fetch(name, medmnist.cache_folder())
    return load_npz(path, name, config)


for _name in medmnist.TABLE:
    DATASETS.register(_name)(partial(_load_medmnist, _name))


def load_source(config: Data) -> Source:
    """Find the data set that a recipe names, and say what its task is.

    Raises:
        DataError: unknown name, nothing at the path, data that cannot be used, or a task that its labels do not allow.
    """
    return finish(find(config), config)


def finish(found: Source | Listing, config: Data, pixels: Mapping[str, str] | None = None) -> Source:
    """Divide what :func:`find` has listed, and say what the task is. Raises DataError as :func:`load_source`.

    ``pixels`` tell copies apart, see :func:`edgekd.data.arrange.arrange`.
    """
    source = arrange(found, config, pixels) if isinstance(found, Listing) else found
    return replace(source, task=_task(source, config.task))


def _task(source: Source, asked: str) -> str:
    labels, num_classes = source.splits["train"].labels, len(source.class_names)
    if labels.ndim == 2:
        allowed = {"multi-label": "multi-label"}
    else:
        allowed = {"multi-class": "binary" if num_classes == 2 else "multi-class"}
        if num_classes > 2:  # the order of two is no matter
            allowed["ordinal"] = "ordinal"
    if asked == "auto":
        return source.task or next(iter(allowed.values()))
    if asked not in allowed:
        shape = "(n, labels)" if labels.ndim == 2 else "(n,)"
        remedy = "; multi-label takes 0/1 labels of shape (n, labels), or a table" if asked == "multi-label" else ""
        raise DataError(
            f'data.task = "{asked}": {source.name} has {num_classes} classes and labels of shape {shape}; '
            f"allowed: auto, {', '.join(allowed)}{remedy}"
        )
    return allowed[asked]


def find(config: Data) -> Source | Listing:
    """Find the data set that a recipe names, own files as a listing that is not divided yet.

    Raises:
        DataError: unknown name, nothing at the path, a table or a file that cannot be used.
    """
    path = Path(config.path)
    if config.patient_pattern and config.patient_column:
        raise DataError("data.patient_pattern and data.patient_column both say who the patient is; give one of them")
    if len(config.dicom_window) not in (0, 2) or (config.dicom_window[1:] and config.dicom_window[1] < 1):
        raise DataError(
            f"data.dicom_window = {list(config.dicom_window)}: [centre, width] with a width of at least 1 is wanted"
        )
    if config.path and not path.exists():
        raise DataError(f'data.path = "{config.path}": no such file or folder')
    if config.name:
        return DATASETS[config.name](config)
    if path.suffix.lower() == ".npz" and path.is_file():
        _refuse(config, OWN_KEYS, f'"{path.name}"')
        return load_npz(path, path.stem if path.stem in medmnist.TABLE else "", config)
    try:
        return with_headers(_list(path, config), config)
    except OSError as error:
        raise DataError(f'"{error.filename or path}" cannot be read: {error.strerror or error}') from None


def _list(path: Path, config: Data) -> Listing:
    """What lies at a path that is no NPZ file, or what the recipe's table says of it."""
    if config.table:
        return _list_table(Path(config.table), path, config)
    if path.is_dir():
        files = list(walk(path))
        records = [file for file in files if tfrecord.is_tfrecord(file)]
        if records and any(file.suffix.lower() in SUFFIXES for file in files):
            raise DataError(f'"{path}" holds both TFRecord and image files; name a folder with one of them')
        if records:
            return tfrecord.list_records(records, path, config)
        _refuse(config, COLUMN_KEYS, f'"{path}", a folder without a table,')
        return list_folder(path, config)
    if tfrecord.is_tfrecord(path) and path.is_file():
        return tfrecord.list_records([path], path.parent, config)
    if path.suffix.lower() in rows.SUFFIXES:
        return list_table(path, path.parent, config)
    if path.suffix.lower() in ARCHIVES:
        raise DataError(
            f'data.path = "{config.path}" is an archive, and archives are not unpacked; unpack it and name the folder'
        )
    raise DataError(
        f'data.path = "{config.path}": a folder, a table ({", ".join(rows.SUFFIXES)}), TFRecord or an .npz file is '
        "wanted; other files are not read"
    )


def _list_table(table: Path, path: Path, config: Data) -> Listing:
    if not table.is_file():
        raise DataError(f'data.table = "{config.table}": no such file')
    if not path.is_dir():
        raise DataError(f'data.path = "{config.path}": with data.table, the folder of the images is wanted')
    return list_table(table, path if config.path else table.parent, config)
