"""Golden inputs of a bundle: which, and what the model must answer to them on every kernel."""

from __future__ import annotations

import functools
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import Artifact
from edgekd.config.bundle import Bundle
from edgekd.data import Dataset
from edgekd.manifest import TOLERANCE, golden_holds
from edgekd.preprocessing import preprocess

logger = logging.getLogger("edgekd")

NUM_CANDIDATES = 256
MADE_LICENCE = "CC0-1.0"
PICTURE_SIZES = ((97, 61), (131, 173))  # width, height: odd, one wide and one tall


def candidates(config: Bundle, data: Artifact, seed: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """What the golden inputs are chosen from, and what the manifest says of it."""
    if not config.golden_images_licence:
        size = data.facts["image_size"]
        return make_pictures(NUM_CANDIDATES, size, size, seed), {"kind": "made", "licence": MADE_LICENCE, "split": None}
    images = Dataset.open(data).test.images
    order = np.random.default_rng(seed).permutation(len(images))[:NUM_CANDIDATES]
    return images[np.sort(order)], {"kind": "images", "licence": config.golden_images_licence, "split": "test"}


def make_pictures(count: int, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Made pictures ``(n, h, w, 3)``: gradients, soft blobs and noise, of varied brightness and contrast."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    pictures = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        angle = generator.uniform(0, 2 * np.pi)
        field = generator.uniform(-1, 1) * (np.cos(angle) * x + np.sin(angle) * y)
        for _ in range(generator.integers(1, 6)):
            centre, radius = generator.uniform(0, 1, 2), generator.uniform(0.05, 0.4)
            field = field + generator.uniform(-1.5, 1.5) * np.exp(
                -((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
            )
        colour = 1 + generator.uniform(-0.4, 0.4, 3) * generator.integers(0, 2)
        pixels = generator.uniform(60, 200) + generator.uniform(30, 110) * field[..., None] * colour
        noise = generator.normal(0, generator.uniform(0, 25), pixels.shape)
        pictures[index] = np.clip(np.rint(pixels + noise), 0, 255)
    return pictures


def write_vectors(
    model: Path, count: int, candidates: NDArray[np.uint8], out_dir: Path, head: str
) -> list[dict[str, Any]]:
    """Choose golden inputs and write them to ``golden/``.

    Args:
        model: the shipped .tflite.
        count: how many.
        candidates: uint8 ``(n, s, s, 3)``, of the model's size.
        out_dir: of the bundle.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``vectors`` of golden.json: the probabilities of each kernel, their envelope, and how well each tells right use
        from wrong.
    """
    predict = functools.partial(predict_probs, model, head=head)
    chosen = _choose(predict(candidates), predict(candidates ^ np.uint8(0x80)), count)
    inputs = candidates[chosen]
    probs = {kernel: predict(inputs, kernel=kernel).astype(np.float64) for kernel in KERNELS}
    flipped = predict(inputs ^ np.uint8(0x80))
    vectors = []
    for index, pixels in enumerate(inputs):
        answers = np.stack([probs[kernel][index] for kernel in KERNELS])
        low, high = answers.min(axis=0), answers.max(axis=0)
        top1 = int(np.argmax(answers[0]))
        # The runner-up cannot overtake within what passes.
        margin = float(low[top1] - np.max(np.delete(high, top1)))
        path = f"golden/input_{index:02d}.bin"
        (out_dir / path).write_bytes(pixels.tobytes())
        vector = {
            "input": path,
            "probs": {kernel: probs[kernel][index].tolist() for kernel in KERNELS},
            "low": low.tolist(),
            "high": high.tolist(),
            "top1": top1,
            "margin": margin,
            "decisive": margin > 2 * TOLERANCE,
        }
        vectors.append({**vector, "fails_with_flipped_sign": not golden_holds(flipped[index], vector)})
    weak = sum(not (row["decisive"] and row["fails_with_flipped_sign"]) for row in vectors)
    if weak:
        logger.warning(
            f"{weak} of {count} golden inputs tell right from wrong use only weakly: "
            "the model answers alike to most of the pictures they were chosen from"
        )
    return vectors


def _choose(probs: NDArray[np.float32], flipped: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The candidates that the sign flip moves most, in turn over the classes that the model gives; in fixed order."""
    ordered = np.sort(probs.astype(np.float64), axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    moved = np.abs(probs - flipped).max(axis=1)
    quality = np.minimum(margin, moved)
    predicted = np.argmax(probs, axis=1)
    queues = [
        list(members[np.argsort(-quality[members], kind="stable")])
        for members in (np.flatnonzero(predicted == label) for label in np.unique(predicted))
    ]
    useful = 4 * TOLERANCE
    chosen: list[int] = []
    for least in (useful, -1.0):  # the weak ones only where there are not enough others
        while len(chosen) < count:
            before = len(chosen)
            for queue in queues:
                if queue and quality[queue[0]] > least and len(chosen) < count:
                    chosen.append(int(queue.pop(0)))
            if len(chosen) == before:
                break
    return np.asarray(sorted(chosen), np.int64)


def write_pictures(size: int, resize: str, out_dir: Path, seed: int) -> list[dict[str, Any]]:
    """Write made pictures larger than the input and what preprocessing makes of each: ``pictures`` of golden.json."""
    rows = []
    for index, (width, height) in enumerate(PICTURE_SIZES):
        pixels = make_pictures(1, width, height, seed + 1 + index)[0]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        picture, tensor = f"golden/image_{index}.png", f"golden/image_{index}.bin"
        (out_dir / picture).write_bytes(buffer.getvalue())
        (out_dir / tensor).write_bytes(preprocess(pixels, size, resize).tobytes())
        rows.append({"picture": picture, "width": width, "height": height, "tensor": tensor})
    return rows
