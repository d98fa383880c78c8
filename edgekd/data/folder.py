"""Class folders: ``root/<class>/*.png``, or ``root/<split>/<class>/*.png``; images may lie in folders below."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgekd.config.data import Data
from edgekd.data import dicom, rows
from edgekd.data.source import FileRef, Item, Listing, PictureRef
from edgekd.data.spelling import split_of
from edgekd.errors import DataError, listed

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def list_folder(root: Path, config: Data) -> Listing:
    """List the layout of a folder of images; the pictures themselves are read later.

    Hidden files, and links that lead out of the folder or in circles, are passed over; what else is passed over is a
    warning.

    Raises:
        DataError: no images, two folders for one split, split folders below a class.
        OSError: a folder that cannot be listed.
    """
    warnings: list[str] = []
    folders = _split_folders(root)
    given = folders != {"train": root}
    items = []
    for split, folder in folders.items():
        for path in _subfolders(folder):
            pictures = _pictures(path, root, config, warnings)
            items += [Item(picture, (path.name,), split if given else "") for picture in pictures]
    if given:
        unused = [path.name for path in _subfolders(root) if path not in folders.values()]
        if unused:
            warnings.append(f"passed over beside the split folders: {', '.join(unused)}")
    if not items:
        remedy = ""
        if any(dicom.is_dicom(path) or path.suffix.lower() in SUFFIXES for path in walk(root)):
            remedy = f"; if a table says what the images are, name it: --set data.table={_table(root)}"
        wanted = f"a folder per class with {', '.join(SUFFIXES)} or DICOM files in it"
        raise DataError(f'"{root}" has no images; wanted: {wanted}{remedy}')
    return Listing(root.resolve().name, f'"{root}"', items, warnings=tuple(warnings))


def _table(root: Path) -> Path:
    """A table among or beside the images, or what one could be called."""
    beside = [*sorted(root.iterdir()), *sorted(root.resolve().parent.iterdir())]
    found = (path for path in beside if path.suffix.lower() in rows.SUFFIXES and path.is_file())
    return next(found, root / "labels.csv")


def walk(folder: Path, root: Path | None = None) -> Iterator[Path]:
    """Every file below a folder that is not hidden, sorted.

    Links to folders are not followed, and links to files only inside of ``root``, which is the folder by default.
    """
    inside = (root or folder).resolve()
    for path, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            file = Path(path) / name
            if not is_hidden(name) and (not file.is_symlink() or _leads_inside(file, inside)):
                yield file


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: ``.DS_Store``, ``__MACOSX``, ``Thumbs.db``."""
    return name.startswith((".", "__")) or name.lower() in ("thumbs.db", "desktop.ini")


def reference(path: Path, root: Path, config: Data) -> PictureRef | None:
    """How a file is read, by its suffix or, of DICOM, by its first bytes; None for a file of another kind."""
    name = path.relative_to(root).as_posix()
    if path.suffix.lower() in SUFFIXES:
        return FileRef(path, name)
    return dicom.DicomRef(path, name, config.dicom_frame, config.dicom_window) if dicom.is_dicom(path) else None


def _raise(error: OSError) -> None:
    raise error


def _leads_inside(link: Path, inside: Path) -> bool:
    return link.is_file() and link.resolve().is_relative_to(inside)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; all is train where there is no such folder."""
    folders: dict[str, Path] = {}
    for path in _subfolders(root):
        split = split_of(path.name)
        if split in folders:
            raise DataError(
                f'"{root}": "{folders[split].name}" and "{path.name}" both name the {split} split; keep one'
            )
        if split:
            folders[split] = path
    if "train" not in folders and len(folders) > 1 and len(folders) == len(_subfolders(root)):
        raise DataError(f'"{root}" has the split folders {", ".join(map(str, folders))}, and none for train')
    return folders if "train" in folders else {"train": root}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def _pictures(folder: Path, root: Path, config: Data, warnings: list[str]) -> list[PictureRef]:
    """The images of a class folder; folders without images are no classes."""
    shown = folder.relative_to(root).as_posix()
    if folder.is_symlink() and not folder.resolve().is_relative_to(root.resolve()):
        warnings.append(f'"{shown}" is a link out of the folder and was not followed')
        return []
    below = [path.name for path in _subfolders(folder) if split_of(path.name)]
    if "train" in map(split_of, below):
        raise DataError(
            f'"{root}": "{shown}" holds split folders ({", ".join(below)}); wanted: the class folders in the split '
            "folders, not the other way round"
        )
    files = list(walk(folder, root))
    found = {path: reference(path, root, config) for path in files}
    pictures = [picture for picture in found.values() if picture is not None]
    if not pictures:
        warnings.append(f'"{shown}" has no images and is no class')
        return []
    others = [path.relative_to(folder).as_posix() for path in files if found[path] is None]
    links = [path.name for path in sorted(folder.iterdir()) if path.is_symlink() and path not in found]
    if others or links:
        names = [*others, *links]
        warnings.append(f'"{shown}": {len(names)} file(s) are no images and were passed over: {listed(names)}')
    return pictures
