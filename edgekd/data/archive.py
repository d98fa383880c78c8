"""Arrays in an NPZ file, which is a zip file of .npy files: read row by row, so that they need not fit into memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import DataError

BLOCK_BYTES = 2**22
MAX_WHOLE_BYTES = 16 * 2**30
"""Of an array that is read at once: labels, and images whose rows do not lie one after the other."""


@dataclass(frozen=True)
class Header:
    """What an .npy file says of its array.

    Attributes:
        shape, dtype: of the array.
        fortran_order: whether the first index runs fastest, so that rows do not lie together.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool


@dataclass(frozen=True, eq=False)
class ArchivedImages:
    """Images that lie in a zip file, packed or not; whoever iterates over them unpacks a few at a time.

    A single one is found by unpacking all before it. Nothing is unpickled, and nothing is extracted.

    Attributes:
        path: of the NPZ file.
        member: its array, ``train_images``: uint8 ``(m, h, w)``, ``(m, h, w, 1)`` or ``(m, h, w, 3)`` in C order.
        stored: shape of that array.
        rows: which of its rows these are, ascending, ``(n,)``.
    """

    path: Path
    member: str
    stored: tuple[int, ...]
    rows: NDArray[np.int64] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, h, w)``, or ``(n, h, w, 3)``."""
        return (len(self.rows), *(self.stored[1:3] if self.stored[3:] == (1,) else self.stored[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Each image, ``(h, w)`` or ``(h, w, 3)``. Raises DataError where the file is broken."""
        return self._pick(self.rows)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> NDArray[np.uint8]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8]:
        if isinstance(index, slice):
            found = list(self._pick(self.rows[index]))
            return np.stack(found) if found else np.empty((0, *self.shape[1:]), np.uint8)
        return next(self._pick(self.rows[[index]]))

    def pick(self, indices: NDArray[np.integer]) -> Iterator[NDArray[np.uint8]]:
        """Those at ascending places, in one go. Raises DataError where the file is broken."""
        return self._pick(self.rows[indices])

    def take(self, kept: NDArray[np.bool_]) -> ArchivedImages:
        """Only those that a mask ``(n,)`` keeps."""
        return ArchivedImages(self.path, self.member, self.stored, self.rows[kept])

    def _pick(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        size = int(np.prod(self.stored[1:]))
        at_once = max(1, BLOCK_BYTES // size)
        with reading(f'"{self.path}"'), zipfile.ZipFile(self.path) as archive, _member(archive, self.member) as file:
            _header(file)
            for start in range(0, int(rows[-1]) + 1 if len(rows) else 0, at_once):
                count = min(at_once, self.stored[0] - start)
                content = file.read(count * size)
                if len(content) < count * size:
                    raise ValueError(f"{self.member} ends early")
                block = np.frombuffer(content, np.uint8).reshape(count, *self.shape[1:])
                first, last = np.searchsorted(rows, (start, start + count))
                yield from block[rows[first:last] - start]


def read_header(archive: zipfile.ZipFile, member: str) -> Header:
    """Read the header of an array, and see that as many bytes follow it as it claims.

    Raises:
        ValueError: another kind of file, an array of objects, or fewer bytes.
    """
    with _member(archive, member) as file:
        header = _header(file)
        there = archive.getinfo(_file(member)).file_size - file.tell()
    if int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize > there:
        raise ValueError(f"{member} claims the shape {header.shape} of {header.dtype} and has {there} bytes")
    return header


def read_whole(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """Read an array at once. Raises ValueError as :func:`read_header`, and where it is too large for that."""
    header = read_header(archive, member)
    size = int(np.prod(header.shape)) * header.dtype.itemsize
    if size > MAX_WHOLE_BYTES:
        order = ", in Fortran order; save it in C order, which is read row by row" if header.fortran_order else ""
        raise ValueError(f"{member} has {size / 2**30:.0f} GiB, more than {MAX_WHOLE_BYTES // 2**30}{order}")
    with _member(archive, member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


@contextmanager
def reading(title: str) -> Iterator[None]:
    """Turn what a broken archive leads to into a DataError that begins with ``title``."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise whatever the broken bytes lead them to
        raise DataError(
            f"{title} cannot be read as NPZ: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None


def _member(archive: zipfile.ZipFile, member: str) -> IO[bytes]:
    return archive.open(_file(member))


def _file(member: str) -> str:
    return f"{member}.npy"


def _header(file: IO[bytes]) -> Header:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"an .npy file of version {version}; 1.0 and 2.0 are read")
    shape, fortran_order, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("object arrays are pickles, which are never read")
    return Header(shape, dtype, fortran_order and len(shape) > 1)
