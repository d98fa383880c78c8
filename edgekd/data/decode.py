"""Decode the pictures of a split once: preprocessed into a file that is mapped into memory, with fingerprints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.config.data import Data
from edgekd.data.fingerprint import Fingerprint, Fingerprints, fingerprint
from edgekd.data.pool import ordered
from edgekd.data.source import SourceSplit, are_pixels
from edgekd.errors import DataError
from edgekd.preprocessing import Picture, preprocess, to_rgb
from edgekd.progress import Task


@dataclass(frozen=True)
class Found:
    """What decoding finds, by name of the picture: why it is unreadable, and the largest value of a 16-bit one."""

    unreadable: dict[str, str] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Decoded:
    pixels: NDArray[np.uint8]
    prints: Fingerprint
    largest: int | None


def write_split(
    path: Path, split: SourceSplit, config: Data, found: Found, task: Task
) -> tuple[SourceSplit, Fingerprints]:
    """Write the preprocessed pictures of a split one after the other, uint8 ``(n, s, s, 3)``.

    Args:
        path: the .npy file.
        split: with ``n`` pictures.
        config: how they are preprocessed.
        found: is added to.
        task: counts every picture.

    Returns:
        The split without unreadable pictures, and the fingerprints of the others.

    Raises:
        DataError: an array that is no picture.
    """
    readable = np.ones(len(split.labels), bool)
    prints: list[Fingerprint] = []
    with path.open("wb") as file:
        _write_header(file, len(readable), config.image_size)
        for index, one in enumerate(_decode(split, config)):
            if isinstance(one, _Decoded):
                file.write(one.pixels.tobytes())
                prints.append(one.prints)
                if one.largest is not None:
                    found.largest[split.name(index)] = one.largest
            else:
                readable[index] = False
                found.unreadable[split.name(index)] = str(one)
            task.advance(1)
        if not readable.all():
            # The format leaves room in the header, so that a smaller count takes as many bytes.
            file.seek(0)
            _write_header(file, int(readable.sum()), config.image_size)
    return (split if readable.all() else split.take(readable)), Fingerprints.of(prints)


def rearrange(folder: Path, chosen: Mapping[str, Sequence[tuple[str, int]]]) -> None:
    """Write ``<split>_images.npy`` anew: of each split named, the images ``(split, row)`` as they lie now."""
    images = {
        path.name.removesuffix("_images.npy"): np.load(path, mmap_mode="r", allow_pickle=False)
        for path in folder.glob("*_images.npy")
    }
    for name, places in chosen.items():
        with (folder / f"{name}_images.npy.tmp").open("wb") as file:
            _write_header(file, len(places), images[name].shape[1])
            for split, row in places:
                file.write(images[split][row].tobytes())
    del images  # some systems do not replace a file that is mapped
    for name in chosen:
        (folder / f"{name}_images.npy.tmp").replace(folder / f"{name}_images.npy")


def _decode(split: SourceSplit, config: Data) -> Iterator[_Decoded | DataError]:
    pictures = split.pictures

    def decode(picture: Picture) -> _Decoded:
        sixteen = isinstance(picture, Image.Image) and picture.mode.startswith("I")
        largest = int(np.max(picture.getextrema())) if isinstance(picture, Image.Image) and sixteen else None
        rgb = to_rgb(picture, config.sixteen_bit_max)
        pixels = preprocess(np.asarray(rgb), config.image_size, config.resize)
        return _Decoded(pixels, fingerprint(rgb), largest)

    if are_pixels(pictures):
        # They are small, and handing them to threads takes longer than scaling them.
        return map(decode, pictures)

    def read(index: int) -> _Decoded | DataError:
        try:
            return decode(pictures[index].read())
        except DataError as error:
            return error

    return ordered(read, len(pictures))


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)
