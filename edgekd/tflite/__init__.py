"""TensorFlow Lite files: conversion from Keras, metadata, and a read-only view."""

from edgekd.tflite.convert import INTEGER_VARIANTS, Frozen, check, convert, freeze
from edgekd.tflite.cost import dtype, float_islands, macs, measured_sparsity, num_params
from edgekd.tflite.describe import describe, describe_tensor, gzip_bytes
from edgekd.tflite.float_layers import keep_float
from edgekd.tflite.layer_errors import LayerError, layer_errors
from edgekd.tflite.layers import check_layers, layers_of
from edgekd.tflite.metadata import LABELS_FILE, METADATA_NAME, add_metadata
from edgekd.tflite.metadata_reader import Metadata, read_metadata
from edgekd.tflite.mixed import Choice, choose
from edgekd.tflite.sparse import encode
from edgekd.tflite.view import Operator, Tensor, View, open_view

__all__ = [
    "INTEGER_VARIANTS",
    "LABELS_FILE",
    "METADATA_NAME",
    "Choice",
    "Frozen",
    "LayerError",
    "Metadata",
    "Operator",
    "Tensor",
    "View",
    "add_metadata",
    "check",
    "check_layers",
    "choose",
    "convert",
    "describe",
    "describe_tensor",
    "dtype",
    "encode",
    "float_islands",
    "freeze",
    "gzip_bytes",
    "keep_float",
    "layer_errors",
    "layers_of",
    "macs",
    "measured_sparsity",
    "num_params",
    "open_view",
    "read_metadata",
]
