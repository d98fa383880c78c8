"""The sparse encoding: its numbers by hand, the converter's own, equal answers, and which file is shipped."""

from __future__ import annotations

import functools
import gzip
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tflite_models import smooth_images, tiny_cnn, tiny_file

from edgekd import _keras, _litert, encoding, tflite
from edgekd._keras import tf
from edgekd.errors import ModelError
from edgekd.tflite import cost, edit, sparse


def test_compressed_rows_by_hand() -> None:
    dense = np.array([[[0, 5, 0], [0, 0, 0]], [[7, 0, -1], [0, 0, 2]]], np.int8)
    values, segments, places = sparse.compress(dense)
    assert (values.tolist(), segments.tolist(), places.tolist()) == ([5, 7, -1, 2], [0, 1, 1, 3, 4], [1, 0, 2, 2])
    assert (values.dtype, segments.dtype, places.dtype) == (np.int8, np.uint8, np.uint8)


@pytest.mark.parametrize(("columns", "kind"), [(256, np.uint8), (257, np.uint16), (65_537, np.int32)])
def test_places_are_as_narrow_as_the_row_is_long(columns: int, kind: type) -> None:
    assert sparse.compress(np.eye(1, columns, dtype=np.int8))[2].dtype == kind


def dense_level(side: int) -> Any:
    return SimpleNamespace(format=_litert.schema().DimensionType.DENSE, denseSize=side)


def sparse_level(segments: list[int], places: list[int]) -> Any:
    return SimpleNamespace(
        format=_litert.schema().DimensionType.SPARSE_CSR,
        denseSize=0,
        arraySegments=SimpleNamespace(values=np.array(segments)),
        arrayIndices=SimpleNamespace(values=np.array(places)),
    )


def parameters(order: list[int], blocks: list[int], levels: list[Any]) -> Any:
    return SimpleNamespace(traversalOrder=order, blockMap=blocks, dimMetadata=levels)


def test_blocks_by_hand() -> None:
    """Two blocks of 2 x 2: above on the left, below on the right."""
    levels = [dense_level(2), sparse_level([0, 1, 2], [0, 1]), dense_level(2), dense_level(2)]
    found = sparse.decode(parameters([0, 1, 2, 3], [0, 1], levels), (4, 4), np.arange(1, 9))
    assert found.reshape(4, 4).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]


def test_columns_first_by_hand() -> None:
    levels = [dense_level(3), sparse_level([0, 1, 1, 3], [1, 0, 1])]
    found = sparse.decode(parameters([1, 0], [], levels), (2, 3), np.array([4, 5, 6]))
    assert found.reshape(2, 3).tolist() == [[0, 0, 5], [4, 0, 6]]


@pytest.mark.parametrize(
    ("order", "levels", "shape", "count"),
    [
        ([0, 0], [dense_level(2), dense_level(2)], (2, 2), 4),
        ([0], [dense_level(1 << 40)], (4,), 4),
        ([0], [dense_level(4)], (1 << 40,), 4),
        ([0, 1], [dense_level(2), sparse_level([0, 1], [0])], (2, 2), 1),
        ([0, 1], [dense_level(2), sparse_level([0, 1, 2], [0])], (2, 2), 2),
        ([0, 1], [dense_level(2), sparse_level([0, 1, 2], [0, 2])], (2, 2), 2),
        ([0, 1], [dense_level(2), sparse_level([0, 1, 2], [0, 1])], (2, 2), 3),
    ],
)
def test_what_is_not_sound_is_refused(order: list[int], levels: list[Any], shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ValueError, match=r"a sparse tensor|invalid entry in coordinates"):
        sparse.decode(parameters(order, [], levels), shape, np.ones(count, np.int8))


@functools.cache
def pruned_file() -> bytes:
    return tflite.convert(tflite.freeze(tiny_cnn(sparsity=0.9)), "int8", smooth_images(16))


def weights_of(content: bytes) -> list[Any]:
    return [tensor.values.reshape(tensor.shape) for _, tensor in cost.weights(tflite.open_view(content))]


def test_only_the_layer_that_gets_smaller_is_encoded() -> None:
    """By hand: the pointwise kernel has 64 rows of 16; a non-zero takes two bytes, a row one."""
    dense = pruned_file()
    content, count = tflite.encode(dense)
    assert count == 1
    stored = [tensor for tensor in edit.unpack(content).subgraphs[0].tensors if tensor.sparsity is not None]
    assert [list(tensor.shape) for tensor in stored] == [[64, 1, 1, 16]]
    (pointwise,) = (kernel for kernel in weights_of(dense) if kernel.shape == (64, 1, 1, 16))
    levels = stored[0].sparsity.dimMetadata
    assert len(levels[-1].arraySegments.values) == 65
    assert len(levels[-1].arrayIndices.values) == np.count_nonzero(pointwise)
    assert len(content) < len(dense)
    assert tflite.open_view(content).operator_counts["DENSIFY"] == 1


def test_the_view_sees_through_it() -> None:
    dense, (content, _) = tflite.open_view(pruned_file()), tflite.encode(pruned_file())
    view = tflite.open_view(content)
    for before, after in zip(weights_of(pruned_file()), weights_of(content), strict=True):
        np.testing.assert_array_equal(after, before)
    assert tflite.measured_sparsity(view) == tflite.measured_sparsity(dense)
    assert (tflite.macs(view), tflite.num_params(view)) == (tflite.macs(dense), tflite.num_params(dense))
    tflite.check(view, "int8")


@pytest.mark.parametrize("kernel", _litert.KERNELS)
def test_answers_are_those_of_the_dense_file(kernel: str) -> None:
    images = smooth_images(50, seed=3)
    expected = _litert.predict_probs(pruned_file(), images, kernel)
    assert len(np.unique(expected, axis=0)) > 10, "a constant network proves nothing"
    np.testing.assert_array_equal(_litert.predict_probs(tflite.encode(pruned_file())[0], images, kernel), expected)


def test_without_zeros_nothing_is_encoded() -> None:
    content, count = tflite.encode(tiny_file("int8"))
    assert (content, count) == (tiny_file("int8"), 0)


def test_the_converter_encodes_what_we_decode() -> None:
    """Its own encoder is another implementation of the format."""
    frozen = tflite.freeze(tiny_cnn(sparsity=0.9))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function], trackable_obj=tf.Module())
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    content = converter.convert()
    assert tflite.open_view(content).operator_counts["DENSIFY"] >= 1
    plain = tflite.convert(frozen, "fp32")
    by_shape = {kernel.shape: kernel for kernel in weights_of(plain)}
    for kernel in weights_of(content):
        np.testing.assert_allclose(kernel, by_shape[kernel.shape], atol=1e-6)
    assert tflite.measured_sparsity(tflite.open_view(content)) == tflite.measured_sparsity(tflite.open_view(plain))


def test_a_damaged_encoding_is_a_damaged_model() -> None:
    model = edit.unpack(tflite.encode(pruned_file())[0])
    tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.sparsity is not None)
    tensor.sparsity.dimMetadata[-1].arrayIndices.values = np.full_like(
        tensor.sparsity.dimMetadata[-1].arrayIndices.values, 200
    )
    with pytest.raises(ModelError, match="damaged"):
        tflite.open_view(edit.pack(model))


# Which file is shipped


def test_the_smaller_one_that_runs_is_shipped() -> None:
    dense, images = pruned_file(), smooth_images(8)
    content, _ = tflite.encode(dense)
    chosen = encoding.choose(dense, content, images, "raw")
    assert chosen.content == content
    assert chosen.facts == {
        "measure": "raw",
        "shipped": "sparse",
        "reason": f"{len(content):,} raw bytes sparse-encoded against {len(dense):,} dense; equal answers to 8 images",
        "dense": {"tflite_bytes": len(dense), "gzip_bytes": len(gzip.compress(dense, 9, mtime=0))},
        "sparse": {"tflite_bytes": len(content), "gzip_bytes": len(gzip.compress(content, 9, mtime=0))},
    }


def test_gzip_prefers_zeros_as_they_are() -> None:
    dense = pruned_file()
    content, _ = tflite.encode(dense)
    assert len(gzip.compress(content, 9, mtime=0)) > len(gzip.compress(dense, 9, mtime=0))
    chosen = encoding.choose(dense, content, smooth_images(8), "gzip")
    assert chosen.content == dense
    assert (chosen.facts["shipped"], chosen.facts["reason"][:12]) == ("dense", "not smaller:")


def test_nothing_to_encode_is_told() -> None:
    chosen = encoding.choose(pruned_file(), None, smooth_images(8), "raw")
    assert chosen.content == pruned_file()
    assert (chosen.facts["sparse"], chosen.facts["reason"]) == (
        None,
        "no convolution takes fewer bytes by its non-zeros",
    )


@functools.cache
def file_with_large_dense_layer() -> bytes:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Conv2D(16, 3, strides=2, name="stem")(layers.Rescaling(1 / 127.5, offset=-1.0)(pixels))
    x = layers.Dense(256, activation="relu", name="hidden")(layers.GlobalAveragePooling2D()(x))
    model = _keras.tf_keras.Model(pixels, layers.Dense(3, name="logits")(x))
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([kernel * (np.abs(kernel) > np.quantile(np.abs(kernel), 0.9)), bias])
    return tflite.convert(tflite.freeze(model), "int8", smooth_images(16))


def test_one_that_does_not_run_is_discarded_with_the_reason() -> None:
    """LiteRT's default interpreter refuses a sparse FULLY_CONNECTED, which is why it is never encoded."""
    dense = file_with_large_dense_layer()
    assert tflite.encode(dense)[1] == 0
    refused, count = tflite.encode(dense, ("FULLY_CONNECTED",))
    assert count == 1
    chosen = encoding.choose(dense, refused, smooth_images(8), "raw")
    assert chosen.content == dense
    assert chosen.facts["shipped"] == "dense"
    assert chosen.facts["reason"].startswith("the sparse-encoded file cannot be opened: ")
    assert "FULLY_CONNECTED" in chosen.facts["reason"]
    assert chosen.facts["sparse"]["tflite_bytes"] == len(refused) < len(dense)


def test_one_with_other_answers_is_discarded_with_the_reason() -> None:
    """The file of other weights, which stands for an encoding that went wrong."""
    other, _ = tflite.encode(pruned_file())
    chosen = encoding.choose(tiny_file("int8"), other, smooth_images(8), "raw")
    assert chosen.content == tiny_file("int8")
    assert chosen.facts["reason"].startswith("other answers to 8 of 8 images (")
