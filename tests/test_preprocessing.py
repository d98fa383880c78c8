from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import preprocessing
from edgekd.errors import DataError
from edgekd.preprocessing import open_image, preprocess, shorter_side

ORIENTATION = 0x0112


def save(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_an_image_of_the_right_size_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(preprocess(pixels, 16), pixels)


def test_grey_is_replicated() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(preprocess(pixels, 16), np.repeat(pixels[..., None], 3, axis=2))


def test_halving_by_hand() -> None:
    # Pillow's BILINEAR to half the size is a triangle of support 2 at distances 0.5 and 1.5: weights 1, 3, 3, 1 over 8,
    # renormalised at the edge: (3, 3, 1) / 7. The row 0, 0, 80, 80 gives 80 / 7 = 11.4 and (80 * 6) / 7 = 68.6.
    row = np.array([[0, 0, 80, 80]] * 4, np.uint8)
    np.testing.assert_array_equal(preprocess(row, 2)[..., 0], [[11, 69], [11, 69]])


def test_stretch_takes_all_and_center_crop_the_middle() -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    assert np.all(preprocess(wide, 10, "center_crop") == 200)
    assert preprocess(wide, 10, "stretch")[:, 0].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(orientation: int) -> None:
    # What a viewer shows, by the EXIF specification: the stored rows and columns mirrored, turned or transposed.
    shown = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: np.rot90(shown),
        7: shown[::-1, ::-1].T,
        8: np.rot90(shown, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = open_image(save(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif))
    np.testing.assert_array_equal(preprocess(image, 8)[..., 0], shown)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "LA", "RGBA", "PA", "I", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("L", (9, 7), 128)
    converted = Image.new("I;16", (9, 7), 128 << 8) if mode == "I;16" else image.convert(mode if mode != "I" else "I")
    result = preprocess(converted, 8)
    assert result.shape == (8, 8, 3)
    assert result.dtype == np.uint8


def test_sixteen_bit_keeps_the_upper_byte() -> None:
    values = np.array([[0, 255, 256, 65535]] * 4, np.uint16)
    image = open_image(save(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(preprocess(image, 4)[0, :, 0], [0, 0, 1, 255])


def test_sixteen_bit_with_another_white_is_clipped_and_scaled() -> None:
    # min(v, 4095) * 256 // 4096 = min(v, 4095) >> 4; with 999 as white 500 * 256 // 1000 = 128.
    values = np.array([[0, 15, 16, 4095, 5000, 500]] * 6, np.uint16)
    image = open_image(save(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(preprocess(image, 6, sixteen_bit_max=4095)[0, :, 0], [0, 0, 1, 255, 255, 31])
    assert preprocess(image, 6, sixteen_bit_max=999)[0, 5, 0] == 128


@pytest.mark.parametrize(
    ("format", "dtype"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.uint8), ("BMP", np.uint8)]
)
def test_files_of_both_depths(format: str, dtype: type) -> None:
    values = (np.arange(16).reshape(4, 4) * (16 if dtype is np.uint8 else 4096)).astype(dtype)
    wanted = np.arange(16).reshape(4, 4) * 16
    np.testing.assert_array_equal(preprocess(open_image(save(Image.fromarray(values), format)), 4)[..., 1], wanted)


def test_transparency_is_laid_over_black() -> None:
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert preprocess(image, 4).max() == 0


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(Image.new("L", (60, 50)), "PNG")
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 2999)
    with pytest.raises(DataError, match=r"has 3,000 pixels, more than 2,999; scale it down"):
        open_image(content)


@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_a_hundred_megapixels_are_refused() -> None:
    content = save(Image.new("1", (10_000, 10_000)), "PNG")
    with pytest.raises(DataError, match="pixels"):
        open_image(content)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r'odd.png" (is not an image in the form PNG, JPEG, BMP, TIFF; convert it|cannot be read)'
    ):
        open_image(path)


def test_a_truncated_image_is_refused() -> None:
    content = save(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "PNG")
    with pytest.raises(DataError, match="cannot be read"):
        open_image(content[: len(content) // 2])


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError):
        preprocess(array, 8)


def test_unknown_resize_is_refused() -> None:
    with pytest.raises(DataError, match="allowed: stretch, center_crop"):
        preprocess(np.zeros((4, 4), np.uint8), 8, "squash")


def test_several_pages_are_refused_and_a_phones_jpeg_is_its_first_frame() -> None:
    first, second = Image.new("L", (16, 16), 10), Image.new("L", (16, 16), 200)
    with pytest.raises(DataError, match=r'"stack.tif" has 2 pages; save the one that counts'):
        open_image(save(first, "TIFF", save_all=True, append_images=[second]), "stack.tif")
    picture = open_image(save(first, "MPO", save_all=True, append_images=[second]))
    assert preprocess(picture, 8).max() == 10


@pytest.mark.parametrize(("format", "options"), [("JPEG", {}), ("TIFF", {"compression": "raw"})])
def test_orientation_is_read_from_other_formats_too(format: str, options: dict[str, object], tmp_path: Path) -> None:
    stored = np.zeros((16, 32), np.uint8)
    stored[:, :16] = 255  # bright on the left; turned by 90 degrees clockwise, bright at the top
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "photo"
    path.write_bytes(save(Image.fromarray(stored), format, exif=exif, **options))
    result = preprocess(open_image(path), 8)[..., 0]
    assert result[:3].min() > 250
    assert result[5:].max() < 5


def test_values_without_a_stated_range_are_refused() -> None:
    with pytest.raises(DataError, match="32-bit values has no stated range"):
        preprocess(Image.fromarray(np.full((4, 4), 70_000, np.int32)), 4)
    with pytest.raises(DataError, match="floating-point values has no stated range"):
        preprocess(Image.fromarray(np.ones((4, 4), np.float32)), 4)


def test_a_mode_that_pillow_cannot_convert_is_refused() -> None:
    with pytest.raises(DataError, match="mode La cannot be converted"):
        preprocess(Image.new("La", (4, 4)), 4)


def test_shorter_side_needs_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    path.write_bytes(save(Image.new("RGB", (300, 200)), "PNG")[:60])
    assert shorter_side(path) == 200
    with pytest.raises(DataError, match="cannot be read"):
        open_image(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'photo.png" cannot be read: No such file or directory'):
        open_image(tmp_path / "photo.png")
