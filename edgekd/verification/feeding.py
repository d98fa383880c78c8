"""What the shipped model does where it is fed wrongly: for whoever has to find out why it is bad in the field.

Verification has the images as they are prepared, at the model's size. What goes wrong before, in resizing, is imitated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edgekd import metrics
from edgekd.tasks import Floats, Labels, Task
from edgekd.verification.corruptions import Images
from edgekd.verification.robustness import Predict
from edgekd.verification.unfamiliar import confidence


@dataclass(frozen=True)
class Fault:
    """A way to feed images wrongly.

    Attributes:
        title: for people.
        apply: from right images, uint8 ``(n, s, s, 3)``, to what arrives.
    """

    title: str
    apply: Callable[[Images], Images]


def bgr(images: Images) -> Images:
    """Red and blue exchanged."""
    return images[..., ::-1]


def unit_range(images: Images) -> Images:
    """Divided by 255, and cut off to whole numbers on the way into a uint8 tensor: 255 becomes 1, all else 0."""
    return images // np.uint8(255)


def inverted(images: Images) -> Images:
    """Bright for dark: ``255 - x``."""
    return np.uint8(255) - images


def minus_128(images: Images) -> Images:
    """``x - 128`` as int8, whose bytes are then taken for uint8."""
    return images ^ np.uint8(0x80)


def center_crop(images: Images) -> Images:
    """The middle 7/8 of both sides alone, resized to the whole, as networks for ImageNet are often fed."""
    side = images.shape[1]
    kept = max(1, round(side * 7 / 8))
    start = (side - kept) // 2
    return _resized(images[:, start : start + kept, start : start + kept], side, Image.Resampling.BILINEAR)


def letterboxed(images: Images) -> Images:
    """As of a picture of 4:3 that keeps its shape, between black bars, where it should be stretched."""
    side = images.shape[1]
    height = max(1, round(side * 3 / 4))
    framed = np.zeros_like(images)
    top = (side - height) // 2
    framed[:, top : top + height] = _resized(images, side, Image.Resampling.BILINEAR, height)
    return framed


def by_way_of_smaller(images: Images, method: Image.Resampling) -> Images:
    """Reduced to 7/8 of the side, and enlarged again by this method."""
    side = images.shape[1]
    smaller = _resized(images, max(1, round(side * 7 / 8)), Image.Resampling.BILINEAR)
    return _resized(smaller, side, method)


FAULTS = {
    "bgr": Fault("BGR for RGB", bgr),
    "unit_range": Fault("scaled to 0..1 (and cut off to whole numbers)", unit_range),
    "inverted": Fault("inverted, 255 - x", inverted),
    "minus_128": Fault("x - 128, int8 bytes taken for uint8", minus_128),
    "center_crop": Fault("cropped to the middle 7/8", center_crop),
    "letterboxed": Fault("letterboxed, a 4:3 picture between black bars", letterboxed),
    "bilinear": Fault(
        "enlarged from 7/8 by bilinear, which is right: the next two against this",
        lambda images: by_way_of_smaller(images, Image.Resampling.BILINEAR),
    ),
    "nearest": Fault(
        "enlarged from 7/8 by nearest neighbour", lambda images: by_way_of_smaller(images, Image.Resampling.NEAREST)
    ),
    "bicubic": Fault(
        "enlarged from 7/8 by bicubic", lambda images: by_way_of_smaller(images, Image.Resampling.BICUBIC)
    ),
}


def preprocessing_faults(
    images: Images, labels: Labels, predict: Predict, class_names: Sequence[str], task: Task
) -> dict[str, Any]:
    """Accuracy, agreement with itself, and the commonest answer of a model under each fault.

    Args:
        images: uint8, shape ``(n, s, s, 3)``, fed as they should be.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        predict: from images to probabilities.
        class_names: in the order of the outputs.
        task: what the labels mean.

    Returns:
        ``num_images`` and ``rows``, the first with nothing wrong: ``{"fault", "title", "accuracy", "agreement",
        "mean_confidence", "commonest", "commonest_share", "note"}``. ``note`` says where no pixel changed.
    """
    rows, right = [], predict(images)
    for name, title, apply in (("none", "as it should be", _same), *((k, f.title, f.apply) for k, f in FAULTS.items())):
        fed = apply(images)
        unchanged = name != "none" and np.array_equal(fed, images)
        probs = right if unchanged or name == "none" else predict(np.ascontiguousarray(fed))
        rows.append(
            {
                **{"fault": name, "title": title, "accuracy": metrics.accuracy(probs, labels)},
                "agreement": metrics.agreement(probs, right, task),
                "mean_confidence": float(confidence(probs, task).mean()),
                **_commonest(probs, class_names, task),
                "note": ("no effect on grey images" if name == "bgr" else "no pixel changed") if unchanged else None,
            }
        )
    return {"num_images": len(images), "rows": rows}


def _same(images: Images) -> Images:
    return images


def _commonest(probs: Floats, class_names: Sequence[str], task: Task) -> dict[str, Any]:
    """The answer that is given most often; of labels, the one that is found most often."""
    decided = task.decisions(probs)
    counts = decided.sum(axis=0) if task.several else np.bincount(decided, minlength=len(class_names))
    label = int(np.argmax(counts))
    return {"commonest": class_names[label], "commonest_share": float(counts[label] / len(probs))}


def _resized(images: Images, width: int, method: Image.Resampling, height: int | None = None) -> Images:
    size = (width, height or width)
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method)) for image in images])
