"""The drop-in asset."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Bundle:
    """The drop-in asset."""

    num_golden: int = option(8, "golden input tensors", minimum=8, maximum=16)
    golden_images_licence: str = option(
        "", "licence under which images of the test split may go into the bundle as goldens; empty: made images"
    )
    onnx: bool = option(False, "put the int8 student in as ONNX too, for ONNX Runtime (needs the extra onnx)")
    min_confidence: float = option(0.0, "below this probability the app says low confidence", minimum=0, maximum=1)
    intended_use: str = option(
        "Demonstration only. Not a medical device. Not for diagnosis.", "text shown by the report and the app"
    )
