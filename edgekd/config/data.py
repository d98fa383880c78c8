"""The images, and how they become the model's input."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Data:
    """The images, and how they become the model's input."""

    name: str = option("", "a data set known by name (see the README); empty: own data at path")
    path: str = option(
        "",
        "a folder of class folders or of TFRecord files, a table (CSV, TSV, Parquet, Excel), a TFRecord file, or an "
        "NPZ file in MedMNIST layout; with a name: its file, already here",
    )
    table: str = option(
        "", "a table that says which image is what; its paths start from the folder data.path, or else from its own"
    )
    path_column: str = option("", "column of the table with the image files; empty: guessed. Of TFRecord: the image")
    label_column: str = option("", "column with the class; empty: guessed")
    label_columns: tuple[str, ...] = option((), "columns with 0 or 1, one a label")
    label_separator: str = option("|", "what stands between several labels in a cell, of a multi-label task")
    no_finding: str = option("No Finding", "the cell of a multi-label task that says none; an empty cell does, too")
    patient_column: str = option("", "column with the patient, who is never in two splits; empty: guessed")
    patient_pattern: str = option("", "regular expression with one group: the patient in a file name")
    split_column: str = option("", "column with train, val or test; empty: guessed")
    subgroup_columns: tuple[str, ...] = option((), "columns that tell subgroups apart, such as sex or site")
    classes: tuple[str, ...] = option((), "the classes in their order; empty: sorted. An order that grades need")
    dicom_frame: int = option(
        0, "which frame of a multi-frame DICOM file is taken, from 1; 0: such files are refused", minimum=0
    )
    dicom_window: tuple[float, ...] = option(
        (), "window of all DICOM images, [centre, width]; empty: each file's own, or else its least and largest value"
    )
    allow_burned_in: bool = option(False, "take DICOM images that say of themselves that text is burned into them")
    task: str = option(
        "auto",
        "what is asked of an image: multi-class (one class), ordinal (one grade; their order is that of the labels), "
        "multi-label (any number of findings), or auto: ordinal for data that is known to be, multi-label where an NPZ "
        "has 0/1 labels of shape (n, labels), else multi-class",
        choices=("auto", "multi-class", "ordinal", "multi-label"),
    )
    image_size: int = option(
        0, "side of the model's square input, in pixels; 0: chosen from the data", minimum=0, maximum=1024
    )
    resize: str = option(
        "stretch", "how an image meets the square: stretch or center_crop", choices=("stretch", "center_crop")
    )
    sixteen_bit_max: int = option(
        65535,
        "value of 16-bit grey files that becomes white: 65535 keeps the upper byte, 4095 is for 12 bits in 16",
        minimum=255,
        maximum=65535,
    )
    num_calibration_samples: int = option(256, "training images that calibrate INT8", minimum=2, maximum=100_000)
    val_fraction: float = option(
        0.15, "share taken for validation where the data has no such split", above=0, below=0.5
    )
    test_fraction: float = option(0.15, "share taken for the test where the data has no such split", above=0, below=0.5)
    split_seed: int = option(0, "seed of those splits and of the choice of calibration images", minimum=0)
    skip_unreadable: bool = option(False, "go on without unreadable files; the report counts them")
    max_duplicates: float = option(
        0.02,
        "share of the val and of the test images that may stand, pixel for pixel, in another split before them; more "
        "is an error",
        minimum=0,
        maximum=1,
    )
    deduplicate: bool = option(
        False, "leave out of train what stands in val or test too, pixel for pixel, and out of val what stands in test"
    )
    licence: str = option("", "licence of own data, for the report and the manifest")
    source: str = option("", "where own data comes from, for the report and the manifest")
