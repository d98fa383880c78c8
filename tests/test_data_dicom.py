from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.config.data import Data
from edgekd.data.dicom import is_dicom, linear, linear_exact, read_header, read_pixels, sigmoid
from edgekd.data.source import Source
from edgekd.errors import DataError, EdgekdError, MissingRequirementError

pydicom = pytest.importorskip("pydicom")

from dicom_files import write_dicom  # noqa: E402 - needs pydicom

# A row of values that are easily windowed by hand.
VALUES = np.array([[-1000, 0, 40, 80, 1000]] * 2, np.int16)


def shown(tmp_path: Path, pixels: np.ndarray, window: tuple[float, ...] = (), **attributes: object) -> list[int]:
    """The first row of an image that is written and read."""
    return read_pixels(write_dicom(tmp_path / "x.dcm", pixels, **attributes), "x.dcm", window=window)[0].tolist()


def test_window_functions_by_hand() -> None:
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255; with c = 40.5 and w = 81, x / 80 * 255.
    np.testing.assert_allclose(linear(np.array([-9.0, 0, 20, 40, 80, 99]), 40.5, 81), [0, 0, 63.75, 127.5, 255, 255])
    np.testing.assert_array_equal(linear(np.array([39.0, 39.5, 40.0]), 40, 1), [0, 0, 255])
    np.testing.assert_allclose(linear_exact(np.array([0.0, 20, 40, 80]), 40, 80), [0, 63.75, 127.5, 255])
    # 255 / (1 + exp(-4 (x - c) / w)): at one quarter of the width from the centre, e^-1.
    np.testing.assert_allclose(
        sigmoid(np.array([40.0, 60, -1e9]), 40, 80), [127.5, 255 / (1 + np.exp(-1)), 0], atol=1e-9
    )


def test_signed_values_are_rescaled_and_windowed(tmp_path: Path) -> None:
    assert shown(tmp_path, VALUES, WindowCenter=40.5, WindowWidth=81) == [0, 0, 128, 255, 255]
    # Stored values twice as large and 20 lower, in units after rescaling the same.
    stored = (VALUES * 2 + 20).astype(np.int16)
    rescale = {"RescaleSlope": 0.5, "RescaleIntercept": -10}
    assert shown(tmp_path, stored, WindowCenter=40.5, WindowWidth=81, **rescale) == [0, 0, 128, 255, 255]


def test_of_several_windows_the_first_and_before_all_the_recipes(tmp_path: Path) -> None:
    windows = {"WindowCenter": [40.5, 0], "WindowWidth": [81, 2000]}
    assert shown(tmp_path, VALUES, **windows) == [0, 0, 128, 255, 255]
    # c = 0.5, w = 2001: 127.5 at 0, and 0.1275 more a unit.
    assert shown(tmp_path, VALUES, (0.5, 2001), **windows) == [0, 128, 133, 138, 255]


def test_without_a_window_the_range_of_the_image_or_of_its_bits(tmp_path: Path) -> None:
    assert shown(tmp_path, np.array([[100, 200, 300]] * 2, np.uint16)) == [0, 128, 255]
    assert shown(tmp_path, np.array([[7, 7]] * 2, np.uint16)) == [0, 0]
    assert shown(tmp_path, np.array([[3, 100, 200, 9]] * 2, np.uint8)) == [3, 100, 200, 9]
    assert shown(tmp_path, np.array([[0, 1, 3, 2]] * 2, np.uint8), BitsStored=2, HighBit=1) == [0, 85, 255, 170]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    pixels = np.array([[0, 10, 255, 100]] * 2, np.uint8)
    assert shown(tmp_path, pixels, PhotometricInterpretation="MONOCHROME1") == [255, 245, 0, 155]


def test_a_voi_lut_is_looked_up(tmp_path: Path) -> None:
    lut = pydicom.Dataset()
    lut.LUTDescriptor, lut.LUTData = [4, 10, 16], [0, 65535, 32768, 257]
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"
    pixels = np.array([[9, 10, 11, 12, 13, 99]] * 2, np.uint16)
    # Below the first and above the last entry, these hold; 32768 / 257 = 127.5, 257 / 257 = 1.
    assert shown(tmp_path, pixels, VOILUTSequence=[lut]) == [0, 0, 255, 128, 1, 1]


def test_colours_are_kept(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(read_pixels(write_dicom(tmp_path / "c.dcm", pixels), "c.dcm"), pixels)


def test_multi_frame_files_are_refused_or_a_frame_chosen(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "f.dcm", np.stack([np.full((2, 2), n, np.uint8) for n in (5, 6, 7)]), frames=True)
    with pytest.raises(DataError, match=r'"f.dcm" has 3 frames; choose one, from 1, with data.dicom_frame'):
        read_pixels(path, "f.dcm")
    assert read_pixels(path, "f.dcm", 2).tolist() == [[6, 6], [6, 6]]
    with pytest.raises(DataError, match=r"data.dicom_frame = 4 is none of them"):
        read_pixels(path, "f.dcm", 4)


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4), np.uint8)
    for change, message in (
        ({"PixelData": None}, "has no pixel data"),
        ({"Rows": None}, "lacks Rows; it is no image"),
        ({"Rows": 60000, "Columns": 60000}, "3,600,000,000 pixels, more than 64,000,000"),
        ({"Rows": 90}, "cannot be read as DICOM"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "a window of width 0 is not allowed"),
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, 'VOI LUT function "CUBIC" is not known'),
    ):
        path = write_dicom(tmp_path / "bad.dcm", pixels, **change)
        with pytest.raises(DataError, match=message) as caught:
            read_pixels(path, "bad.dcm")
        assert str(caught.value).startswith('"bad.dcm"')
    (tmp_path / "noise.dcm").write_bytes(b"not DICOM at all")
    with pytest.raises(DataError, match=r'^"noise.dcm"'):
        read_pixels(tmp_path / "noise.dcm", "noise.dcm")


def test_dicom_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "IM0001", np.zeros((2, 2), np.uint8), PatientSex="F")
    assert is_dicom(path)
    assert read_header(path, "IM0001", ("PatientSex", "PatientID")) == {"PatientSex": "F", "PatientID": ""}
    assert not is_dicom(path.rename(tmp_path / "DICOMDIR"))
    (tmp_path / "notes").write_text("DICM")
    assert not is_dicom(tmp_path / "notes")
    assert not is_dicom(tmp_path / "absent")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.zeros((2, 2), np.uint8))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingRequirementError, match=r'needs pydicom; pip install "edgekd\[dicom\]"') as caught:
        read_pixels(path, "x.dcm")
    assert caught.value.exit_code == 3


# Data sets of DICOM files.


def fill(root: Path, *, count: int = 36, labelled: bool = True) -> None:
    """Images of ``count / 3`` patients, without suffixes, nested as archives are."""
    for number in range(count):
        patient = number // 3
        folder = root / ("ab"[patient % 2] if labelled else "archive") / f"study{patient}"
        pixels = np.random.default_rng(number).integers(0, 4096, (10, 12), np.uint16)
        write_dicom(
            folder / f"IM{number:04d}",
            pixels,
            PatientID=f"SECRET{patient}",
            PatientSex="FM"[patient % 2],
            BurnedInAnnotation="NO",
            StudyInstanceUID=f"1.2.3.{patient}",
            AccessionNumber=f"ACC{patient}",
        )


def load(root: Path, **config: object) -> Source:
    return data.load_source(Data(path=str(root), **config))


def patients(source: Source, split: str) -> set[int]:
    return {int(picture.name[-4:]) // 3 for picture in source.splits[split].pictures}


def test_class_folders_of_dicom_are_split_by_patient_without_being_asked(tmp_path: Path) -> None:
    fill(tmp_path)
    source = load(tmp_path, subgroup_columns=("PatientSex",))
    held = [patients(source, split) for split in source.splits]
    assert sum(map(len, held)) == len(set.union(*held)) == 12
    assert source.warnings == ()
    assert source.splits["train"].columns["PatientSex"].tolist() == [
        "FM"[int(picture.name[-4:]) // 3 % 2] for picture in source.splits["train"].pictures
    ]
    assert data.probe(Data(path=str(tmp_path))).median_side == 10


def test_nothing_that_is_written_names_a_patient(tmp_path: Path) -> None:
    fill(tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    data.prepare(Data(path=str(tmp_path / "in"), image_size=8, num_calibration_samples=4), out)
    assert (out / "train_groups.npy").exists()
    for file in out.iterdir():
        assert b"SECRET" not in file.read_bytes()


@pytest.mark.parametrize("column", ["StudyInstanceUID", "Accession Number", "sop_instance_uid"])
def test_labels_are_joined_from_a_table(tmp_path: Path, column: str) -> None:
    fill(tmp_path, labelled=False)
    keys = {
        "StudyInstanceUID": [f"1.2.3.{patient}" for patient in range(12)],
        "Accession Number": [f"ACC{patient}" for patient in range(12)],
        "sop_instance_uid": [
            pydicom.dcmread(path).SOPInstanceUID for path in sorted(tmp_path.rglob("IM*"), key=lambda path: path.name)
        ],
    }[column]
    each = len(keys) // 12
    lines = [f"{key},{'xy'[index // each % 2]}" for index, key in enumerate(keys)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([f"{column},label", *lines]))
    source = load(tmp_path, table=str(table))
    assert sum(len(part.labels) for part in source.splits.values()) == 36
    for part in source.splits.values():
        assert part.labels.tolist() == [int(picture.name[-4:]) // 3 % 2 for picture in part.pictures]
    assert source.warnings == ()
    table.write_text("\n".join([f"{column},label", *lines[each:], "9.9.9,x"]))
    warnings = load(tmp_path, table=str(table)).warnings
    assert warnings == (
        '3 DICOM files have no row in "labels.csv" and were passed over',
        '1 rows of "labels.csv" have no DICOM file',
    )
    table.write_text("\n".join([f"{column},label", *lines, f"{keys[0]},y"]))
    with pytest.raises(DataError, match=r"1 images have several rows that contradict each other; keep one") as caught:
        load(tmp_path, table=str(table))
    assert keys[0] not in str(caught.value)
    table.write_text(f"{column},label\n7.7.7,x\n")
    with pytest.raises(DataError, match=r"36 files were looked at"):
        load(tmp_path, table=str(table))


def test_burned_in_text_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "a" / "study0" / "IM0000"
    write_dicom(path, np.zeros((9, 9), np.uint8), PatientID="SECRET0", BurnedInAnnotation="YES")
    with pytest.raises(DataError, match=r"1 DICOM files say that text is burned into .*data.allow_burned_in=true"):
        load(tmp_path)
    warnings = load(tmp_path, allow_burned_in=True).warnings
    assert warnings == ("1 DICOM files say that text is burned into their pixels; it may name patients",)
    write_dicom(path, np.zeros((9, 9), np.uint8))
    assert load(tmp_path).warnings == (
        "1 DICOM files do not say that no text is burned into their pixels, which may name patients",
        "1 DICOM files have no PatientID; each counts as a patient of its own",
    )


def test_given_splits_that_divide_a_patient_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "Testing", count=6)
    with pytest.raises(DataError, match=r"2 patient\(s\) stand in both train and test \(12 images\)") as caught:
        load(tmp_path)
    assert "SECRET" not in str(caught.value)


def test_subgroups_that_identify_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(DataError, match=r'"PatientSexx" is no column, .*did you mean "PatientSex"'):
        load(tmp_path, subgroup_columns=("PatientSexx",))
    with pytest.raises(DataError, match=r'"PatientID" is no column, and no DICOM attribute that tells subgroups apart'):
        load(tmp_path, subgroup_columns=("PatientID",))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "in")
    write_dicom(tmp_path / "in" / "a" / "report.dcm", np.zeros((2, 2), np.uint8), PixelData=None, PatientID="SECRET0")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(
        DataError, match=r"1 unreadable image\(s\): a/report.dcm .*has no pixel data; .*skip_unreadable"
    ):
        data.prepare(Data(path=str(tmp_path / "in"), image_size=8), out)


# pydicom's own files, against DCMTK.

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
# Files of the same image: DCMTK 3.6.7 reads no JPEG 2000.
SAME = {"MR_small_jp2klossless.dcm": "MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm"}


def by_dcmtk(path: Path, out: Path) -> np.ndarray | None:
    """What DCMTK makes of the first frame with the window that edgekd states; None where it does not read the file."""
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    options = []
    if header.PhotometricInterpretation.startswith("MONOCHROME"):
        plain = header.BitsStored == 8 and not header.PixelRepresentation
        if header.get("WindowCenter") is not None:
            options = ["+Wi", "1"]
        elif header.get("VOILUTSequence"):
            options = ["+Wl", "1"]
        elif not plain or header.get("RescaleSlope") is not None or header.get("ModalityLUTSequence"):
            options = ["+Wm"]
    for tool in ("dcmj2pnm", "dcml2pnm"):
        done = subprocess.run([tool, "-O", "+F", "1", *options, "+op", path, out], capture_output=True, check=False)
        if done.returncode == 0 and out.exists():
            with Image.open(out) as image:
                return np.asarray(image)
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bundled_files_are_read_as_dcmtk_reads_them_or_refused_by_name(tmp_path: Path) -> None:
    if not (shutil.which("dcmj2pnm") and shutil.which("dcml2pnm")):
        pytest.skip("DCMTK is not installed (apt install dcmtk)")
    compared, refused, unknown, wrong = [], {}, {}, {}
    files = sorted(path for path in BUNDLED.rglob("*") if path.is_file())
    assert len(files) > 100
    for number, path in enumerate(files):
        name = path.relative_to(BUNDLED).as_posix()
        try:
            found = read_pixels(path, name, frame=1)
        except EdgekdError as error:
            refused[name] = str(error)
            continue
        assert found.dtype == np.uint8
        wanted = by_dcmtk(path, tmp_path / f"{number}.pnm")
        if wanted is None:
            unknown[name] = str(pydicom.dcmread(path).file_meta.TransferSyntaxUID.name)
            continue
        compared.append(name)
        if found.shape != wanted.shape or np.abs(found.astype(int) - wanted.astype(int)).max() > 1:
            wrong[name] = (found.shape, wanted.shape)
    assert wrong == {}
    assert len(compared) >= 75
    # Not in DCMTK: JPEG 2000. Its decoder of JPEG stops at the missing end of one file.
    assert {name for name, syntax in unknown.items() if not syntax.startswith("JPEG 2000")} <= {"SC_rgb_jpeg.dcm"}
    assert [name for name, message in refused.items() if not message.startswith(f'"{name}"') or "\n" in message] == []
    # Every file with pixels that is refused, and why.
    pixels = {name for name in refused if "PixelData" in pydicom.dcmread(BUNDLED / name, force=True)}
    assert pixels <= {
        *("JPEG-lossy.dcm", "JPGExtended.dcm"),  # 12 bits: read where pylibjpeg-libjpeg is installed
        *("JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm", "badVR.dcm"),  # broken on purpose
        *(
            "SC_rgb_rle_32bit.dcm",
            "SC_rgb_rle_32bit_2frame.dcm",
            "rtdose_expb.dcm",
            "rtdose_expb_1frame.dcm",
        ),  # 32 bits
        *("meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),  # no rows and columns
    }
    for name, twin in SAME.items():
        np.testing.assert_array_equal(read_pixels(BUNDLED / name, name), read_pixels(BUNDLED / twin, twin))
