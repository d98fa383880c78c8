"""What tells pictures to be the same, or nearly so: a digest of the pixels, and a thumbnail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
"""Of the thumbnails, in pixels."""

# Copies that were saved as JPEG, scaled, blurred, brightened or made noisy lie within both limits on PneumoniaMNIST and
# BreastMNIST; different X-rays of PneumoniaMNIST reach a correlation of 0.977, and never both limits.
MAX_BITS = 8
MIN_CORRELATION = 0.99
# A thumbnail with less contrast, in grey levels, shows noise alone, and any two of them might look alike.
MIN_CONTRAST = 2.0

_FREQUENCIES = 8
_PAIRS_AT_ONCE = 4_000_000
_MOST_CANDIDATES = 512


@dataclass(frozen=True)
class Fingerprint:
    """One picture's.

    Attributes:
        digest: BLAKE2b of size and RGB pixels, 16 bytes.
        thumbnail: grey, ``SIDE`` times ``SIDE`` bytes.
    """

    digest: bytes
    thumbnail: bytes


def fingerprint(rgb: Image.Image) -> Fingerprint:
    """Take the fingerprint of an RGB image of any size, as :func:`edgekd.preprocessing.to_rgb` gives it."""
    digest = hashlib.blake2b(f"{rgb.width} x {rgb.height} ".encode(), digest_size=16)
    digest.update(rgb.tobytes())
    small = rgb.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    # A copy: Pillow's own bytes are what is left of a buffer of 64 KiB, and keep others from its place.
    return Fingerprint(digest.digest(), np.asarray(small).tobytes())


@dataclass(frozen=True)
class Fingerprints:
    """Those of many pictures.

    Attributes:
        digests: one each.
        thumbnails: uint8, shape ``(n, SIDE, SIDE)``.
    """

    digests: Sequence[bytes]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def of(cls, found: Sequence[Fingerprint]) -> Fingerprints:
        """Put single ones together."""
        pixels = np.frombuffer(b"".join(one.thumbnail for one in found), np.uint8)
        return cls([one.digest for one in found], pixels.reshape(-1, SIDE, SIDE))

    def take(self, kept: NDArray[np.bool_]) -> Fingerprints:
        """Those that a mask ``(n,)`` keeps."""
        return Fingerprints(
            [digest for digest, wanted in zip(self.digests, kept, strict=True) if wanted], self.thumbnails[kept]
        )


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash what the eye sees first: 64 bits, of which few differ between pictures that look alike.

    Bit ``8 u + v`` says whether the coefficient ``(u, v)`` of the discrete cosine transform,

        ``F(u, v) = sum_xy f(x, y) cos(pi (2x + 1) u / 2N) cos(pi (2y + 1) v / 2N)``, ``u, v < 8``,

    lies above the median of all but ``F(0, 0)``, whose own bit is 0 (Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions").

    Args:
        thumbnails: grey, shape ``(n, N, N)``.

    Returns:
        uint64, shape ``(n,)``.
    """
    side = thumbnails.shape[-1]
    waves = np.cos(np.pi * (2 * np.arange(side) + 1) * np.arange(_FREQUENCIES)[:, None] / (2 * side))
    found = np.empty(len(thumbnails), np.uint64)
    step = 4096  # so that floats of a large set do not all lie in memory
    for start in range(0, len(thumbnails), step):
        part = thumbnails[start : start + step].astype(np.float64)
        spectrum = (waves @ part @ waves.T).reshape(len(part), -1)
        above = spectrum > np.median(spectrum[:, 1:], axis=1, keepdims=True)
        above[:, 0] = False
        found[start : start + step] = np.packbits(above, axis=1, bitorder="little").view("<u8")[:, 0]
    return found


def correlation(thumbnail: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pearson's correlation of one thumbnail with each of others, ``(N, N)`` and ``(n, N, N) -> (n,)``."""
    one, many = _centred(thumbnail[None]), _centred(others)
    return np.asarray(many @ one[0])


def near_pairs(first: Fingerprints, second: Fingerprints) -> list[tuple[int, int]]:
    """For each picture of ``second``, the one of ``first`` that it nearly is, if there is one.

    Nearly: at most ``MAX_BITS`` bits of the hashes differ, and the thumbnails correlate by ``MIN_CORRELATION`` or more.
    Pictures that stand in ``first`` pixel for pixel are left out, and so are those without contrast.

    Returns:
        Pairs of indices, ``(in first, in second)``.
    """
    known = set(first.digests)
    new = np.array([digest not in known for digest in second.digests], bool)
    return list(_pairs(first, second, np.flatnonzero(new), same=False))


def near_pairs_within(pictures: Fingerprints) -> list[tuple[int, int]]:
    """The same within one set: each picture with an earlier one that it nearly is."""
    earliest: dict[bytes, int] = {}
    for index, digest in enumerate(pictures.digests):
        earliest.setdefault(digest, index)
    return list(_pairs(pictures, pictures, np.array(sorted(earliest.values()), np.int64), same=True))


def _pairs(
    first: Fingerprints, second: Fingerprints, rows: NDArray[np.int64], *, same: bool
) -> Iterator[tuple[int, int]]:
    rows = rows[_contrast(second.thumbnails)[rows] >= MIN_CONTRAST]
    columns = np.flatnonzero(_contrast(first.thumbnails) >= MIN_CONTRAST)
    ours, theirs = perceptual_hashes(second.thumbnails[rows]), perceptual_hashes(first.thumbnails[columns])
    step = max(1, _PAIRS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(rows), step):
        bits = np.bitwise_count(ours[start : start + step, None] ^ theirs)
        if same:
            bits[columns >= rows[start : start + step, None]] = 64
        close = bits <= MAX_BITS
        for at in np.flatnonzero(close.any(axis=1)):
            row, candidates = rows[start + at], columns[close[at]]
            if len(candidates) > _MOST_CANDIDATES:
                candidates = candidates[np.argsort(bits[at][close[at]], kind="stable")[:_MOST_CANDIDATES]]
            alike = correlation(second.thumbnails[row], first.thumbnails[candidates])
            if alike.max() >= MIN_CORRELATION:
                yield int(candidates[alike.argmax()]), int(row)


def _contrast(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Standard deviation of the grey levels of each."""
    step = 4096
    parts = [
        thumbnails[start : start + step].reshape(-1, SIDE * SIDE).std(axis=1)
        for start in range(0, len(thumbnails), step)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _centred(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rows without their mean, of length one."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny))
