"""TensorFlow Lite files: conversion from Keras, metadata, and a read-only view."""

from edgekd.tflite.convert import Frozen, check, convert, freeze
from edgekd.tflite.cost import dtype, float_islands, macs, measured_sparsity, num_params
from edgekd.tflite.describe import describe, gzip_bytes
from edgekd.tflite.metadata import LABELS_FILE, METADATA_NAME, add_metadata
from edgekd.tflite.metadata_reader import Metadata, read_metadata
from edgekd.tflite.sparse import encode
from edgekd.tflite.view import Operator, Tensor, View, open_view

__all__ = [
    "LABELS_FILE",
    "METADATA_NAME",
    "Frozen",
    "Metadata",
    "Operator",
    "Tensor",
    "View",
    "add_metadata",
    "check",
    "convert",
    "describe",
    "dtype",
    "encode",
    "float_islands",
    "freeze",
    "gzip_bytes",
    "macs",
    "measured_sparsity",
    "num_params",
    "open_view",
    "read_metadata",
]
