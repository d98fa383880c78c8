"""The teacher's logits on disk: half precision, in shards that are written once, digested, and mapped to be read.

::

    index.json                          shape, type, rows a shard, SHA-256 of every shard
    view_0000_rows_000000000.f16        little-endian float16, row after row, without a header
    view_0000_rows_000008192.f16        the next block of samples, then the next view

A shard is a block of consecutive samples in one view. It is there under its name only when all of it is on the disk, so
that whoever comes later, after a kill or on another machine, keeps it: worker ``i`` of ``n`` does
``Layout.cut(...).shards()[i::n]`` (:class:`Part`), and :func:`collect` makes a store of what they left. Equal logits
give equal bytes.

Half precision keeps 11 bits of a logit: between 8 and 16 it is off by at most 1/256. What it cannot hold (NaN, or
beyond +-65504) is refused and never clipped: clipping would make ties out of a teacher's preferences.
"""

from __future__ import annotations

import mmap
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import read_json, sha256_file, write_json
from edgekd.errors import DataError, ModelError

INDEX_FILE = "index.json"

# A batch meets every shard of its view, so a view is cut into a few; a kill costs a shard, and its writer holds one in
# memory, so none is large.
SHARDS_PER_VIEW = 16
MIN_ROWS_PER_SHARD = 8192
MAX_SHARD_BYTES = 16 * 1024**2

_DTYPE = np.dtype("<f2")
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Shard:
    """The logits of the samples ``start`` to ``stop`` (not included) in one view."""

    view: int
    start: int
    stop: int
    num_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of its array: ``(stop - start, K)``."""
        return (self.stop - self.start, self.num_classes)

    @property
    def name(self) -> str:
        """Of its file."""
        return f"view_{self.view:04d}_rows_{self.start:09d}.f16"

    @property
    def num_bytes(self) -> int:
        """Of its file."""
        return self.shape[0] * self.shape[1] * _DTYPE.itemsize


@dataclass(frozen=True)
class Layout:
    """The shape of a store, ``(num_views, num_samples, num_classes)``, and how it is cut."""

    num_views: int
    num_samples: int
    num_classes: int
    rows_per_shard: int

    @classmethod
    def cut(cls, num_views: int, num_samples: int, num_classes: int) -> Layout:
        """16 shards a view, or fewer of 8,192 rows, or more of 16 MiB: the same for everyone who works at a store."""
        rows = max(MIN_ROWS_PER_SHARD, -(-num_samples // SHARDS_PER_VIEW))
        rows = min(rows, max(1, MAX_SHARD_BYTES // (num_classes * _DTYPE.itemsize)))
        return cls(num_views, num_samples, num_classes, rows)

    def shard(self, view: int, block: int) -> Shard:
        """The ``block``-th shard of a view."""
        start = block * self.rows_per_shard
        return Shard(view, start, min(start + self.rows_per_shard, self.num_samples), self.num_classes)

    def shards(self) -> list[Shard]:
        """All of them, view after view."""
        blocks = range(-(-self.num_samples // self.rows_per_shard))
        return [self.shard(view, block) for view in range(self.num_views) for block in blocks]


@dataclass(frozen=True)
class Part:
    """Worker ``index`` of ``count``, counted from 0: every ``count``-th shard."""

    index: int
    count: int


class PartDone(Exception):
    """A worker has done its shards; the store waits for those of others.

    Attributes:
        num_own: shards of this worker.
        num_finished: shards that are there, whoever made them.
        num_shards: of the store.
    """

    def __init__(self, num_own: int, num_finished: int, num_shards: int):
        super().__init__(f"{num_finished} of {num_shards} shards are there")
        self.num_own, self.num_finished, self.num_shards = num_own, num_finished, num_shards


def finished(folder: Path, shard: Shard) -> bool:
    """Whether a shard has been written into ``folder``."""
    path = folder / shard.name
    return path.is_file() and path.stat().st_size == shard.num_bytes


def write_shard(folder: Path, shard: Shard, logits: NDArray[np.floating[Any]]) -> None:
    """Put a shard into ``folder``: written beside its place, flushed to the disk, then renamed.

    Args:
        folder: of the shards.
        shard: where the logits belong.
        logits: shape ``shard.shape``.

    Raises:
        ModelError: a number of classes unlike the data's, a logit that half precision cannot hold.
    """
    if logits.shape != shard.shape:
        raise ModelError(
            f"the teacher's logits have shape {logits.shape}; {shard.shape[0]} images of {shard.num_classes} classes "
            f"want {shard.shape}: take a teacher of these classes"
        )
    wrong = ~(np.abs(logits) <= _LARGEST)  # true for NaN too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ModelError(
            f"the teacher's logit for class {column} of training image {shard.start + row}, view {shard.view}, is "
            f"{logits[row, column]:g}; allowed: -{_LARGEST:g} to {_LARGEST:g}. A teacher that gives NaN is broken, one "
            "whose logits are that large needs them divided by a constant"
        )
    # A name of its own: two workers at one shard do not write into each other's file.
    temporary = folder / f"{shard.name}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(np.ascontiguousarray(logits, _DTYPE).data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / shard.name)
    finally:
        temporary.unlink(missing_ok=True)


def collect(work: Path, layout: Layout, folder: Path) -> None:
    """Make a store in ``folder``, which is empty, of the finished shards in ``work``, which stay there.

    Raises:
        DataError: a shard is missing.
    """
    digests = {}
    for shard in layout.shards():
        if not finished(work, shard):
            raise _missing(work / shard.name)
        source, target = work / shard.name, folder / shard.name
        try:
            target.hardlink_to(source)
        except OSError:  # a file system without hard links, or another one
            shutil.copyfile(source, target)
        digests[shard.name] = sha256_file(target)
    index = {
        "shape": [layout.num_views, layout.num_samples, layout.num_classes],
        "dtype": _DTYPE.name,
        "rows_per_shard": layout.rows_per_shard,
        "shards": digests,
    }
    write_json(folder / INDEX_FILE, index)


@dataclass(frozen=True)
class LogitsStore:
    """A store to read from: ``store[view, samples]``, with ``len(store)`` views.

    A shard is mapped for the one read and let go of: pages of a standing map would count as memory of this process
    until the whole store is in it.
    """

    folder: Path
    layout: Layout

    @classmethod
    def open(cls, folder: Path) -> LogitsStore:
        """Read the index and check the digest of every shard; no shard is held in memory.

        Raises:
            DataError: no index, or one that cannot be read; a shard that is missing or damaged.
        """
        try:
            index = read_json(folder / INDEX_FILE)
            num_views, num_samples, num_classes = index["shape"]
            layout = Layout(num_views, num_samples, num_classes, index["rows_per_shard"])
            digests = {shard: index["shards"][shard.name] for shard in layout.shards()}
            if index["dtype"] != _DTYPE.name:
                raise ValueError(f"dtype {index['dtype']}, not {_DTYPE.name}")
        except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError) as error:
            raise DataError(
                f'"{folder / INDEX_FILE}" is no index of logits ({error}); build the teacher\'s logits again'
            ) from None
        for shard, digest in digests.items():
            path = folder / shard.name
            if not path.is_file():
                raise _missing(path)
            if sha256_file(path) != digest:
                raise _damaged(path)
        return cls(folder, layout)

    def __len__(self) -> int:
        return self.layout.num_views

    def __getitem__(self, key: tuple[int, NDArray[np.integer]]) -> NDArray[np.float32]:
        """Logits of samples in one view, in the order asked for.

        Args:
            key: view number, and sample numbers of shape ``(n,)``.

        Returns:
            shape ``(n, K)``.

        Raises:
            IndexError: no such view or sample.
            DataError: a shard has gone or shrunk since the store was opened.
        """
        view, samples = key
        layout = self.layout
        if not 0 <= view < layout.num_views:
            raise IndexError(f"view {view} of {layout.num_views}")
        outside = (samples < 0) | (samples >= layout.num_samples)
        if outside.any():
            raise IndexError(f"sample {samples[outside][0]} of {layout.num_samples}")
        blocks, rows = np.divmod(samples, layout.rows_per_shard)
        found = np.empty((len(samples), layout.num_classes), np.float32)
        for block in np.unique(blocks):
            chosen = blocks == block
            found[chosen] = self._rows(layout.shard(view, int(block)), rows[chosen])
        return found

    def _rows(self, shard: Shard, rows: NDArray[np.integer]) -> NDArray[np.float16]:
        path = self.folder / shard.name
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                if len(mapped) != shard.num_bytes:
                    raise _damaged(path)
                # Only the copy gets a name: the map could not be closed while an array held on to it.
                found: NDArray[np.float16] = np.frombuffer(mapped, _DTYPE).reshape(shard.shape)[rows]
        except FileNotFoundError:
            raise _missing(path) from None
        except ValueError:  # an empty file cannot be mapped
            raise _damaged(path) from None
        return found


def _missing(path: Path) -> DataError:
    return DataError(f'"{path}" is missing from the teacher\'s logits; build them again: finished shards are kept')


def _damaged(path: Path) -> DataError:
    return DataError(
        f'"{path}" is damaged: its bytes are not those that were written; delete it and build the teacher\'s logits '
        "again"
    )
