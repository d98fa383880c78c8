"""TensorFlow Lite Micro on this machine: MLPerf Tiny's models, whose reference implementation it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd import micro
from edgekd.errors import MissingRequirementError, ModelError
from edgekd.micro_child import smallest


@pytest.fixture(scope="module")
def models(shared_data: Path) -> Path:
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed (extra micro)")
    return shared_data / "thirdparty_models"


@pytest.mark.parametrize("answer", [1, 2, 3, 63, 64, 65, 999, 1000])
@pytest.mark.parametrize("step", [1, 16])
def test_the_smallest_that_suffices(answer: int, step: int) -> None:
    asked: list[int] = []

    def suffices(size: int) -> bool:
        asked.append(size)
        return size >= answer

    found = smallest(suffices, step, 1024 * step)
    assert found == -(-answer // step) * step
    assert all(size % step == 0 and size > 0 for size in asked)
    assert len(asked) <= 2 * 10 + 2


def test_what_is_known_to_suffice_is_not_asked_for() -> None:
    assert smallest(lambda size: size >= 48, 16, 48) == 48
    assert smallest(lambda _: False, 16, 64) == 64


def test_a_published_model_answers_as_the_reference_kernels_do(models: Path) -> None:
    """ResNet-8: 3 x 32 x 32 x 16 bytes live at once, and the benchmark gives it an arena of 54 KB or so."""
    path = models / "pretrainedResnet_quant.tflite"
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    found = micro.examine(path, noise)
    assert (found["num_images"], found["num_different"], found["largest_difference"]) == (6, 0, 0.0)
    assert found["version"] == micro.require()
    assert 3 * 32 * 32 * 16 < found["arena_bytes"] < 64 * 1024


def ask(path: Path, inputs: np.ndarray, arena: int, folder: Path) -> None:
    np.save(folder / "inputs.npy", inputs)
    request = {"model": str(path), "inputs": str(folder / "inputs.npy"), "arena": arena, "out": str(folder / "o.npy")}
    micro.ask("outputs", request, path)


def test_an_arena_that_is_too_small_is_an_error_and_no_crash(models: Path, tmp_path: Path) -> None:
    path = models / "vww_96_int8.tflite"
    inputs = np.zeros((1, 96, 96, 3), np.int8)
    for arena in (16, 1000, 48 * 48 * 16):
        with pytest.raises(ModelError, match=r"vww_96_int8|allocate"):
            ask(path, inputs, arena, tmp_path)


def test_pixels_of_another_type_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model takes int8, not uint8"):
        ask(models / "vww_96_int8.tflite", np.zeros((1, 96, 96, 3), np.uint8), 1 << 20, tmp_path)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingRequirementError, match=r'pip install "edgekd\[micro\]"'):
        micro.examine(tmp_path / "m.tflite", np.zeros((1, 8, 8, 3), np.uint8))
