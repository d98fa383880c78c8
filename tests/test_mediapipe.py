"""MediaPipe's ImageClassifier, the C++ core of the Android task, reads the bundle's model and agrees with LiteRT.

It lives in an environment of its own, ``.venv-mediapipe``, which the Makefile makes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bundles import NAMES, colour_images, tiny_bundle

from edgekd._litert import predict_probs

PYTHON = Path(__file__).resolve().parents[1] / ".venv-mediapipe" / "bin" / "python"

CLASSIFY = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision

options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
rows = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for pixels in numpy.load(sys.argv[2]):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.ascontiguousarray(pixels))
        (head,) = classifier.classify(image).classifications
        rows.append([[entry.index, entry.category_name, entry.score] for entry in head.categories])
json.dump(rows, open(sys.argv[3], "w"))
"""


def classify(model: Path, images: np.ndarray, folder: Path) -> list[list[tuple[int, str, float]]]:
    """MediaPipe's answers, the most probable class of each image first."""
    if not PYTHON.is_file():
        pytest.skip("MediaPipe is not there; make .venv-mediapipe/installed brings it")
    np.save(folder / "images.npy", images)
    command = [PYTHON, "-c", CLASSIFY, model, folder / "images.npy", folder / "answers.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows: list[list[tuple[int, str, float]]] = json.loads((folder / "answers.json").read_text())
    return rows


def test_mediapipe_gives_the_labels_and_probabilities_of_litert(tmp_path: Path) -> None:
    images = colour_images(64, seed=51)
    model = tiny_bundle() / "model.tflite"
    answers = classify(model, images, tmp_path)
    expected = predict_probs(model, images)
    assert len(set(expected.argmax(axis=1))) == 3, "a constant network proves nothing"
    found = np.full_like(expected, np.nan)
    for row, answer in enumerate(answers):
        for index, label, score in answer:
            assert label == NAMES[index]
            found[row, index] = score
    difference = float(np.abs(found - expected).max())  # not a number where a class is missing
    assert difference <= 1 / 256
    print(f"largest difference of a probability over {len(images)} images: {difference:.3g}")
    ordered = np.sort(expected, axis=1)
    apart = ordered[:, -1] - ordered[:, -2] > 2 / 256
    assert apart.sum() > 50
    first = np.array([answer[0][0] for answer in answers])
    np.testing.assert_array_equal(first[apart], expected.argmax(axis=1)[apart])
