"""DICOM files: their pixels as a viewer shows them, and the little of their header that a data set needs.

Grey values go through the modality transformation (rescale or LUT), the VOI transformation (window or LUT) and, of
MONOCHROME1, an inversion, to 8 bits (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2). Colours become RGB. Overlays are not
drawn.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.errors import DataError, MissingRequirementError
from edgekd.preprocessing import MAX_PIXELS

SUFFIXES = (".dcm", ".dicom", ".dic")
GREY = ("MONOCHROME1", "MONOCHROME2")
MAGIC, MAGIC_AT = b"DICM", 128

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DicomRef:
    """A picture in a DICOM file: a :class:`~edgekd.data.source.PictureRef`.

    Attributes:
        path: of the file.
        name: relative to the data folder.
        frame: which frame, from 1; 0: a file with several is refused.
        window: centre and width for every image; empty: the file's own.
    """

    path: Path
    name: str
    frame: int = 0
    window: tuple[float, ...] = ()

    def read(self) -> NDArray[np.uint8]:
        """Decode it. Raises DataError."""
        return read_pixels(self.path, self.name, self.frame, self.window)

    def shorter_side(self) -> int:
        """Shorter side in pixels, from the header. Raises DataError."""
        header = read_header(self.path, self.name, ("Rows", "Columns"))
        try:
            return min(int(header["Rows"]), int(header["Columns"]))
        except ValueError:
            raise DataError(f'"{self.name}" is no DICOM image: it has no rows and columns') from None

    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_file(self.path)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix, or by its first bytes; a DICOMDIR is an index and no image."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False


def read_header(path: Path, name: str, keywords: Sequence[str]) -> dict[str, str]:
    """Some attributes of a file, by keyword, as text; absent ones are empty. The pixels are not read.

    Raises:
        DataError: no DICOM file.
        MissingRequirementError: pydicom is not installed.
    """
    with _reading(name) as pydicom:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: _text(dataset.get(keyword)) for keyword in keywords}


def read_pixels(path: Path, name: str, frame: int = 0, window: Sequence[float] = ()) -> NDArray[np.uint8]:
    """Decode an image to what a viewer shows at first.

    The window is ``window``, else the file's first, else its VOI LUT. A file with none of them is shown from its least
    to its largest value, but plain values of 8 bits and fewer over the range of their bits.

    Args:
        path: of the file.
        name: what messages call it.
        frame: which frame, from 1; 0: the only one.
        window: centre and width, in units after rescaling.

    Returns:
        uint8, ``(h, w)`` or ``(h, w, 3)``.

    Raises:
        DataError: no image in it, several frames and none chosen, a form that cannot be decoded.
        MissingRequirementError: pydicom or a decoder is not installed.
    """
    with _reading(name) as pydicom:
        dataset = pydicom.dcmread(path, force=True)
        index = _check(dataset, name, frame)
        pixels = pydicom.pixels.pixel_array(dataset, index=index)
        photometric = str(dataset.PhotometricInterpretation)
        if photometric == "PALETTE COLOR":
            pixels = pydicom.pixels.apply_color_lut(pixels, dataset)
            return _upper_byte(pixels, int(dataset.RedPaletteColorLookupTableDescriptor[2]))
        if photometric not in GREY:
            return _upper_byte(pixels, int(dataset.BitsStored))
        values = np.asarray(pydicom.pixels.apply_modality_lut(pixels, dataset), np.float64)
        shown = _windowed(values, dataset, tuple(window), pydicom)
        shown = 255 - shown if photometric == "MONOCHROME1" else shown
        return np.rint(shown).astype(np.uint8)


def linear(values: Floats, centre: float, width: float) -> Floats:
    """VOI LUT function LINEAR (PS3.3 C.11.2.1.2.1), to 0..255."""
    if width <= 1:
        return np.where(values > centre - 0.5, 255.0, 0.0)
    return np.asarray(np.clip(((values - (centre - 0.5)) / (width - 1) + 0.5) * 255, 0, 255))


def linear_exact(values: Floats, centre: float, width: float) -> Floats:
    """VOI LUT function LINEAR_EXACT (PS3.3 C.11.2.1.3.2), to 0..255."""
    return np.asarray(np.clip(((values - centre) / width + 0.5) * 255, 0, 255))


def sigmoid(values: Floats, centre: float, width: float) -> Floats:
    """VOI LUT function SIGMOID (PS3.3 C.11.2.1.3.1), to 0..255."""
    return np.asarray(255 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500))))


FUNCTIONS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def _check(dataset: Any, name: str, frame: int) -> int:
    """Whether there is an image that can be shown; returns the index of the frame."""
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DataError(f'"{name}" has no pixel data; it is no image: remove it')
    if "PixelData" not in dataset:
        raise DataError(f'"{name}" has pixels in floating point, which have no stated range; it is not read')
    missing = [keyword for keyword in ("Rows", "Columns", "PhotometricInterpretation") if not dataset.get(keyword)]
    if missing:
        raise DataError(f'"{name}" lacks {", ".join(missing)}; it is no image')
    if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
        raise DataError(
            f'"{name}" has {dataset.Rows * dataset.Columns:,} pixels, more than {MAX_PIXELS:,}; scale it down'
        )
    if int(dataset.get("BitsAllocated") or 0) > 16 and not dataset.original_encoding[1]:
        raise DataError(f'"{name}" has big-endian values of 32 bits, which readers take differently; it is not read')
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 and not frame:
        raise DataError(f'"{name}" has {frames} frames; choose one, from 1, with data.dicom_frame, or remove it')
    if frame > frames > 1:
        raise DataError(f'"{name}" has {frames} frames; data.dicom_frame = {frame} is none of them')
    return frame - 1 if frames > 1 else 0


def _windowed(values: Floats, dataset: Any, window: Sequence[float], pydicom: Any) -> Floats:
    """Values after rescaling to 0..255."""
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if not window and dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        window = (_first(dataset.WindowCenter), _first(dataset.WindowWidth))
        if window[1] < (1 if function == "LINEAR" else 1e-9):
            raise DataError(f"a window of width {window[1]:g} is not allowed; name one with data.dicom_window")
        if function not in FUNCTIONS:
            raise DataError(f'VOI LUT function "{function}" is not known; known: {", ".join(FUNCTIONS)}')
        return FUNCTIONS[function](values, window[0], window[1])
    if window:
        return linear(values, window[0], window[1])
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = pydicom.pixels.apply_voi(np.rint(values).astype(np.int64), dataset)
        return np.asarray(np.clip(shown * (255 / (2**bits - 1)), 0, 255))
    bits = int(dataset.BitsStored)
    rescaled = dataset.get("RescaleSlope") is not None or dataset.get("ModalityLUTSequence")
    if bits <= 8 and not rescaled and not dataset.get("PixelRepresentation"):
        return np.asarray(values * (255 / (2**bits - 1)))
    low, high = values.min(), values.max()
    return np.asarray((values - low) * 255 / (high - low) if high > low else np.zeros_like(values))


def _upper_byte(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Colours of ``bits`` bits to 8."""
    if bits < 8 or bits > 16 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise DataError(f"colours of {bits} bits with shape {pixels.shape} are not read")
    return np.asarray(pixels[..., :3] >> (bits - 8)).astype(np.uint8)


def _first(value: Any) -> float:
    """Of several windows, the first."""
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip().strip("\0")


@contextmanager
def _reading(name: str) -> Iterator[Any]:
    """Give pydicom; what it raises becomes one line, and what it says of values in the header is kept quiet."""
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise MissingRequirementError(f'"{name}" is DICOM, which needs pydicom; pip install "edgekd[dicom]"') from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pydicom
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(f'"{name}"') else f'"{name}": {text}') from None
    except Exception as error:  # pydicom and the decoders raise whatever the broken bytes lead them to
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        if "12-bit precision" in reason:
            raise DataError(
                f'"{name}" is JPEG of 12 bits, which the decoders here do not read; save it uncompressed, or install '
                "pylibjpeg-libjpeg (GPL-3.0)"
            ) from None
        if "missing dependencies" in reason:
            raise MissingRequirementError(
                f'"{name}" is compressed, and its decoder is not installed; pip install "edgekd[dicom]"'
            ) from None
        raise DataError(f'"{name}" cannot be read as DICOM: {reason}') from None
