"""Drawn blood cells: the embedded data set of the quickstart. Synthetic, and evidence about nothing but the chain.

Each picture is a stained smear of 32 x 32 pixels with one cell in the middle and pieces of others around it, drawn from
soft-edged discs. The classes share colours and sizes, so that shape and texture have to be looked at.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from edgekd.config.data import Data
from edgekd.data.source import Source, SourceSplit

SIDE = 32
CLASS_NAMES = ("eosinophil", "erythrocyte", "lymphocyte", "neutrophil")
COUNTS = {"train": 2400, "val": 400, "test": 800}

Canvas = NDArray[np.float64]


def load_synthetic_cells(config: Data) -> Source:
    """Draw the whole set; the same pictures every time, whatever the recipe says."""
    return _draw_all()


@functools.cache
def _draw_all() -> Source:
    splits, digest = {}, hashlib.sha256()
    for number, (split, count) in enumerate(COUNTS.items()):
        labels = np.arange(count, dtype=np.int64) % len(CLASS_NAMES)
        images = np.stack([draw_cell(CLASS_NAMES[label], (number, index)) for index, label in enumerate(labels)])
        digest.update(images.tobytes())
        splits[split] = SourceSplit(images, labels)
    return Source(
        "synthetic_cells",
        CLASS_NAMES,
        splits,
        digest.hexdigest(),
        "Apache-2.0",
        "drawn by edgekd; synthetic, no patient's image",
        public=True,
        warnings=("synthetic_cells is drawn, not photographed: its figures say nothing about real images",),
    )


def draw_cell(kind: str, seed: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw one picture, uint8 RGB of shape ``(32, 32, 3)``, from a class name and a seed."""
    generator = np.random.default_rng(seed)
    plasma = np.array([232, 214, 222]) + generator.normal(0, 8, 3)
    canvas = np.broadcast_to(plasma, (SIDE, SIDE, 3)).astype(np.float64).copy()
    for _ in range(generator.integers(1, 4)):  # neighbours, cut off by the edge
        angle, distance = generator.uniform(0, 2 * np.pi), generator.uniform(15, 21)
        centre = SIDE / 2 + distance * np.array([np.cos(angle), np.sin(angle)])
        _erythrocyte(canvas, generator, centre)
    centre = SIDE / 2 + generator.uniform(-3, 3, 2)
    {"erythrocyte": _erythrocyte, "lymphocyte": _lymphocyte, "neutrophil": _neutrophil, "eosinophil": _eosinophil}[
        kind
    ](canvas, generator, centre)
    light = generator.uniform(0.85, 1.08) * (1 + generator.uniform(-0.1, 0.1) * np.linspace(-1, 1, SIDE))[None, :, None]
    noise = generator.normal(0, generator.uniform(4, 14), canvas.shape)
    return np.clip(np.rint(canvas * light + noise), 0, 255).astype(np.uint8)


@functools.cache
def _pixel_centres() -> Canvas:
    return np.asarray(np.mgrid[:SIDE, :SIDE] + 0.5)


def _disc(
    canvas: Canvas,
    centre: NDArray[np.float64],
    radii: tuple[float, float],
    angle: float,
    colour: Canvas,
    opacity: float,
) -> None:
    """Lay an ellipse with an edge one pixel soft over the canvas."""
    y, x = _pixel_centres()
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    inside = np.clip((1 - np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2)) * min(radii) + 0.5, 0, 1)
    weight = (opacity * inside)[..., None]
    canvas *= 1 - weight
    canvas += weight * colour


def _tint(generator: np.random.Generator, colour: tuple[int, int, int], spread: float) -> Canvas:
    return np.asarray(np.array(colour) + generator.normal(0, spread, 3))


def _erythrocyte(canvas: Canvas, generator: np.random.Generator, centre: NDArray[np.float64]) -> None:
    radius, angle = generator.uniform(6, 9), generator.uniform(0, np.pi)
    radii = (radius, radius * generator.uniform(0.8, 1))
    _disc(canvas, centre, radii, angle, _tint(generator, (204, 128, 136), 10), 0.9)
    pale = generator.uniform(0.3, 0.5)
    _disc(canvas, centre, (radii[0] * pale, radii[1] * pale), angle, _tint(generator, (226, 178, 184), 8), 0.7)


def _cytoplasm(
    canvas: Canvas,
    generator: np.random.Generator,
    centre: NDArray[np.float64],
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    radii = (radius, radius * generator.uniform(0.85, 1))
    _disc(canvas, centre, radii, generator.uniform(0, np.pi), _tint(generator, colour, 9), 0.9)


def _nucleus(
    canvas: Canvas,
    generator: np.random.Generator,
    centre: NDArray[np.float64],
    lobes: int,
    radius: float,
    spread: float,
) -> None:
    """Overlapping lobes of one colour on a ring of radius ``spread``."""
    colour, start = _tint(generator, (104, 62, 140), 12), generator.uniform(0, 2 * np.pi)
    for lobe in range(lobes):
        angle = start + (lobe + generator.uniform(-0.2, 0.2)) * 2 * np.pi / (lobes + 1)
        position = centre + spread * np.array([np.cos(angle), np.sin(angle)])
        radii = (radius * generator.uniform(0.85, 1.15), radius * generator.uniform(0.75, 1))
        _disc(canvas, position, radii, generator.uniform(0, np.pi), colour, 0.92)


def _granules(
    canvas: Canvas,
    generator: np.random.Generator,
    centre: NDArray[np.float64],
    count: int,
    reach: float,
    colour: tuple[int, int, int],
) -> None:
    tint = _tint(generator, colour, 10)
    for _ in range(count):
        angle, distance = generator.uniform(0, 2 * np.pi), reach * np.sqrt(generator.uniform())
        position = centre + distance * np.array([np.cos(angle), np.sin(angle)])
        _disc(canvas, position, (0.9, 0.9), 0.0, tint, generator.uniform(0.4, 0.9))


def _lymphocyte(canvas: Canvas, generator: np.random.Generator, centre: NDArray[np.float64]) -> None:
    radius = generator.uniform(7.5, 10.5)
    _cytoplasm(canvas, generator, centre, radius, (178, 188, 222))
    _nucleus(canvas, generator, centre, 2, radius * generator.uniform(0.6, 0.75), generator.uniform(0, 1.2))


def _neutrophil(canvas: Canvas, generator: np.random.Generator, centre: NDArray[np.float64]) -> None:
    radius = generator.uniform(8.5, 11.5)
    _cytoplasm(canvas, generator, centre, radius, (216, 192, 208))
    _granules(canvas, generator, centre, int(generator.integers(6, 18)), radius * 0.85, (196, 150, 176))
    _nucleus(
        canvas, generator, centre, int(generator.integers(3, 6)), radius * generator.uniform(0.26, 0.36), radius * 0.48
    )


def _eosinophil(canvas: Canvas, generator: np.random.Generator, centre: NDArray[np.float64]) -> None:
    radius = generator.uniform(8.5, 11.5)
    _cytoplasm(canvas, generator, centre, radius, (218, 188, 196))
    _nucleus(
        canvas, generator, centre, 2, radius * generator.uniform(0.32, 0.42), radius * generator.uniform(0.38, 0.5)
    )
    _granules(canvas, generator, centre, int(generator.integers(14, 34)), radius * 0.85, (206, 112, 104))
