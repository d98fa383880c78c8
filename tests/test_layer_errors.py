"""What quantization does to each layer: figures against NumPy, the order, and the choice of what stays in float."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from badly_scaled import BAD_LAYER, READER, badly_scaled_files, colours
from tflite_models import keras_logits, smooth_images, tiny_cnn, tiny_file

from edgekd import _keras, mixed_precision, tflite
from edgekd.errors import ModelError
from edgekd.layer_errors import compare
from edgekd.tasks import MULTI_CLASS
from edgekd.tflite.layer_errors import LayerError, snr_db
from edgekd.tflite.mixed import readers


def test_decibels_by_hand() -> None:
    assert snr_db(100.0, 1.0) == pytest.approx(20.0)
    assert snr_db(2.0, 1.0) == pytest.approx(3.0103, abs=1e-4)
    assert snr_db(1.0, 0.0) == np.inf
    assert snr_db(0.0, 1.0) == -np.inf


def test_figures_of_the_last_layer_against_numpy() -> None:
    """Alone: Keras's features, the weights of the INT8 file as real numbers, its rounding of the logits."""
    images = smooth_images(20, seed=6)
    row = next(
        row for row in tflite.layer_errors(tiny_file("fp32"), tiny_file("int8"), images) if row.layer == "logits"
    )
    model = tiny_cnn()
    features = keras_logits(_keras.tf_keras.Model(model.input, model.get_layer("pool").output), images)
    exact = keras_logits(model, images)
    view = tflite.open_view(tiny_file("int8"))
    (step,) = tflite.layers_of(view)["logits"]
    source, kernel, bias = (view.tensors[index] for index in step.inputs)
    target = view.tensors[step.outputs[0]]
    assert kernel.values is not None
    assert bias.values is not None
    weights = kernel.values.reshape(kernel.shape) * np.array(kernel.scale)[:, None]
    offsets = bias.values * source.scale[0] * np.array(kernel.scale)
    logits = features @ weights.T + offsets
    rounded = target.scale[0] * np.clip(np.rint(logits / target.scale[0]), *_bounds(target))
    expected = 10 * np.log10(np.sum(exact**2) / np.sum((exact - rounded) ** 2))
    assert row.logits_snr_db == pytest.approx(expected, abs=0.1)


def _bounds(tensor: tflite.Tensor) -> tuple[int, int]:
    return -128 - tensor.zero_point[0], 127 - tensor.zero_point[0]


def test_noise_of_the_whole_model_is_that_of_its_logits() -> None:
    images = smooth_images(20, seed=6)
    row = next(
        row for row in tflite.layer_errors(tiny_file("fp32"), tiny_file("int8"), images) if row.layer == "logits"
    )
    exact = keras_logits(tiny_cnn(), images)
    from edgekd import _litert

    interpreter = _litert.open_interpreter(tiny_file("int8_io"), "builtin")
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    found = scale * (_litert.run(interpreter, images).astype(np.float64) - zero_point)
    assert row.output_snr_db == pytest.approx(10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)), abs=1e-3)


def test_every_layer_has_a_row() -> None:
    rows = tflite.layer_errors(tiny_file("fp32"), tiny_file("int8"), smooth_images(4))
    assert {row.layer for row in rows} == set(tflite.layers_of(tflite.open_view(tiny_file("int8"))))
    assert [row.logits_snr_db for row in rows] == sorted(row.logits_snr_db for row in rows)


def test_the_badly_scaled_layer_comes_first() -> None:
    rows = tflite.layer_errors(*badly_scaled_files(), smooth_images(32, seed=4))
    assert (rows[0].layer, rows[0].operator) == (BAD_LAYER, "DEPTHWISE_CONV_2D")
    assert rows[0].logits_snr_db < 10 < rows[1].logits_snr_db
    # The large channel hides in the layer's own output that the others are lost.
    assert rows[0].output_snr_db > 30


def test_files_of_two_models_are_refused() -> None:
    with pytest.raises(ModelError, match="the two files are not of one model"):
        tflite.layer_errors(tiny_file("fp32"), badly_scaled_files()[1], smooth_images(1))


def test_a_child_process_gives_the_same(tmp_path: Path) -> None:
    images = smooth_images(8, seed=4)
    paths = [tmp_path / "fp32.tflite", tmp_path / "int8.tflite"]
    for path, content in zip(paths, badly_scaled_files(), strict=True):
        path.write_bytes(content)
    rows = compare(*paths, images)["layers"]
    expected = tflite.layer_errors(*badly_scaled_files(), images)
    assert [row["layer"] for row in rows] == [row.layer for row in expected]
    assert rows[0]["logits_snr_db"] == pytest.approx(expected[0].logits_snr_db)
    paths[1].write_bytes(b"\0\0\0\0TFL3" + bytes(20))
    with pytest.raises(ModelError):
        compare(*paths, images)


# Mixed precision


def data(count: int = 400) -> Any:
    images = smooth_images(count, seed=3)
    val = SimpleNamespace(images=images, labels=colours(images))
    return SimpleNamespace(task=MULTI_CLASS, val=val, calibration_images=smooth_images(32, seed=4))


def test_readers_are_those_behind_the_layer() -> None:
    view = tflite.open_view(badly_scaled_files()[1])
    assert readers(view, BAD_LAYER) == (READER,)
    assert readers(view, "logits") == ()


def test_auto_recovers_what_int8_broke() -> None:
    fp32, int8 = badly_scaled_files()
    content, facts = mixed_precision.mix(int8, fp32, data(), ())
    assert content is not None
    assert facts["int8_drop_pp"] > 20
    assert facts["drop_pp"] <= 0.5
    assert facts["held"]
    assert {BAD_LAYER, READER} <= set(facts["layers"])
    assert len(facts["layers"]) <= 3
    assert facts["extra_bytes"] == len(content) - len(int8)
    assert f"{BAD_LAYER}, {READER}" in facts["text"]


def test_auto_leaves_a_sound_model_alone() -> None:
    content, facts = mixed_precision.mix(tiny_file("int8"), tiny_file("fp32"), data(), (), max_drop_pp=20.0)
    assert content is None
    assert (facts["layers"], facts["held"], facts["num_tried"]) == ([], True, 1)
    assert "all stays in INT8" in facts["text"]


def test_named_layers_are_taken_as_they_are() -> None:
    fp32, int8 = badly_scaled_files()
    content, facts = mixed_precision.mix(int8, fp32, data(100), [READER])
    assert content == tflite.keep_float(int8, fp32, [READER])
    assert (facts["mode"], facts["layers"], facts["held"]) == ("named", [READER], False)


def errors(*layers: str) -> list[LayerError]:
    return [LayerError(layer, "CONV_2D", layer, float(place), 0.0) for place, layer in enumerate(layers)]


def test_what_is_not_needed_goes_back_to_int8() -> None:
    """Of four layers, ranked wrongly, one alone matters: the result is that one."""
    view = tflite.open_view(tiny_file("int8"))
    choice = tflite.choose(
        view,
        errors("pool", "pointwise", "stem", "depthwise"),
        lambda layers: 0.0 if "stem" in layers else 7.0,
        limit_pp=0.5,
    )
    assert choice.layers == ("stem",)
    assert (choice.held, choice.drop_pp, choice.int8_drop_pp) == (True, 0.0, 7.0)


def test_where_nothing_helps_int8_stays() -> None:
    view = tflite.open_view(tiny_file("int8"))
    seen: list[tuple[str, ...]] = []

    def drop(layers: tuple[str, ...]) -> float:
        seen.append(layers)
        return 7.0

    choice = tflite.choose(view, errors("stem", "pool", "pointwise", "depthwise", "logits"), drop, 0.5)
    assert (choice.layers, choice.held, choice.drop_pp) == ((), False, 7.0)
    weighted = {"stem", "depthwise", "pointwise", "logits"}
    assert not any(weighted <= set(layers) for layers in seen)  # that would be the float model
    assert len(seen) == len(set(seen)) == choice.tried


def test_sparse_encoded_weights_are_compared_like_dense_ones() -> None:
    fp32 = tflite.convert(tflite.freeze(tiny_cnn(sparsity=0.9)), "fp32")
    int8 = tflite.convert(tflite.freeze(tiny_cnn(sparsity=0.9)), "int8", smooth_images(32, seed=1))
    sparse, count = tflite.encode(int8)
    assert count
    images = smooth_images(8, seed=4)
    found, expected = tflite.layer_errors(fp32, sparse, images), tflite.layer_errors(fp32, int8, images)
    assert [row.layer for row in found] == [row.layer for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logits_snr_db == pytest.approx(other.logits_snr_db, abs=1e-6)
        assert one.output_snr_db == pytest.approx(other.output_snr_db, abs=1e-6)
