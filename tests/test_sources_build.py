"""Whole builds from a table, from DICOM files and from TFRecord, and `edgekd verify` of what they left."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TINY = {
    "data.image_size": 16,
    "data.num_calibration_samples": 16,
    "data.subgroup_columns": ["sex"],
    "num_threads": 1,
    "teacher.model": "resnet_small",
    "teacher.training.epochs": 1,
    "teacher.training.batch_size": 16,
    "distill.student": "ds_cnn",
    "distill.width_multiplier": 0.25,
    "distill.num_views": 1,
    "distill.train_alone": False,
    "distill.training.epochs": 2,
    "distill.finetune_epochs": 0,
    "distill.training.batch_size": 16,
    "prune.method": "none",
    "quantize.variants": ["fp32", "int8"],
    "gates.max_accuracy_drop_pp": 100.0,
    "gates.min_auc": 0.0,
    "benchmark.num_processes": 2,
    "benchmark.num_runs": 10,
    "benchmark.warmup_runs": 2,
}
PATIENTS, EACH = 40, 3
Written = tuple[Path, dict[str, Any]]
"""What is given as the data, and further settings."""
LABELS, SEXES = ("lying", "standing"), ("F", "M")
SECRET = "SECRET"


@dataclass(frozen=True)
class Picture:
    """One of three images of a patient, whose stripes lie or stand."""

    number: int

    @property
    def patient(self) -> int:
        return self.number // EACH

    @property
    def label(self) -> str:
        return LABELS[self.patient % 2]

    @property
    def sex(self) -> str:
        return SEXES[self.patient // 2 % 2]

    @property
    def split(self) -> str:
        """Of ten patients one is in val, and two are in test, of both classes and sexes in turn."""
        return {0: "val", 1: "val", 2: "test", 3: "test"}.get(self.patient % 10, "train")

    @property
    def pixels(self) -> np.ndarray:
        bright = np.arange(20) % 8 < 4
        stripes = bright[:, None] if self.label == "lying" else bright[None, :]
        noise = np.random.default_rng(self.number).integers(0, 90, (20, 20))
        return (noise + 120 * stripes).astype(np.uint8)

    @property
    def png(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG")
        return file.getvalue()


IMAGES = [Picture(number) for number in range(PATIENTS * EACH)]


def write_table(path: Path, rows: Iterator[dict[str, str]]) -> Path:
    rows_ = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows_[0]))
        writer.writeheader()
        writer.writerows(rows_)
    return path


def a_table(folder: Path) -> Written:
    """A CSV file with patient, split and subgroup columns beside the images."""
    (folder / "files").mkdir()
    for image in IMAGES:
        (folder / "files" / f"{image.number:03}.png").write_bytes(image.png)
    write_table(
        folder / "images.csv",
        (
            {
                **{"file": f"files/{image.number:03}.png", "diagnosis": image.label, "sex": image.sex},
                **{"patient": f"{SECRET}{image.patient}", "split": image.split},
            }
            for image in IMAGES
        ),
    )
    return folder / "images.csv", {"data.label_column": "diagnosis"}


def dicom_files(folder: Path) -> Written:
    """Files without suffix, nested as archives are, of 12 bits; a table has the labels by study."""
    from dicom_files import write_dicom

    for image in IMAGES:
        write_dicom(
            folder / "archive" / f"study{image.patient:02}" / f"IM{image.number:04}",
            image.pixels.astype(np.uint16) * 16,
            **{"PatientID": f"{SECRET}{image.patient}", "StudyInstanceUID": f"1.2.3.{image.patient}"},
            **{"BitsStored": 12, "HighBit": 11, "BurnedInAnnotation": "NO", "WindowCenter": 2048, "WindowWidth": 4096},
        )
    write_table(
        folder / "labels.csv",
        (
            {"StudyInstanceUID": f"1.2.3.{image.patient}", "label": image.label, "sex": image.sex}
            for image in IMAGES[::EACH]
        ),
    )
    return folder / "archive", {"data.table": str(folder / "labels.csv")}


def records(folder: Path) -> Written:
    """Shards of each split, named so."""
    from edgekd._keras import tf

    def feature(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    for split in ("train", "val", "test"):
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for image in IMAGES:
                if image.split == split:
                    known = {
                        **{"image/encoded": image.png, "image/class/text": image.label.encode()},
                        **{"patient_id": f"{SECRET}{image.patient}".encode(), "sex": image.sex.encode()},
                    }
                    features = {name: feature(value) for name, value in known.items()}
                    example = tf.train.Example(features=tf.train.Features(feature=features))
                    writer.write(example.SerializeToString())
    return folder, {}


def edgekd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("write", [a_table, dicom_files, records])
def test_from_the_source_to_a_run_that_verifies(write: Callable[[Path], Written], tmp_path: Path) -> None:
    own, run, cache = tmp_path / "own", tmp_path / "run", tmp_path / "cache"
    own.mkdir()
    path, changes = write(own)
    settings = [f"--set={key}={json.dumps(value)}" for key, value in {**TINY, **changes}.items()]
    done = edgekd("build", "--data", path, "--out", run, "--cache-dir", cache, *settings)
    assert done.returncode == 0, done.stderr + done.stdout

    document = json.loads((run / "report.json").read_text())
    dataset = document["dataset"]
    assert dataset["class_names"] == list(LABELS)
    assert sum(dataset[f"num_{split}"] for split in ("train", "val", "test")) == len(IMAGES)
    if write is not dicom_files:
        assert dataset["num_test"] == sum(image.split == "test" for image in IMAGES)
    assert dataset["num_test"] % EACH == 0, "three images of a patient stay together"
    groups = {row["value"]: row["n"] for row in document["subgroups"]["groups"] if row["column"] == "sex"}
    assert (set(groups), sum(groups.values())) == (set(SEXES), dataset["num_test"])
    assert document["preprocessing"]["of"] == "image files"
    assert document["preprocessing"]["num_images"] == dataset["num_test"]
    spread = document["latency_distributions"]["models"]
    assert [row["model"] for row in spread] == [row["id"] for row in document["models"] if row["latency"]]
    assert all(len(row["processes"]) == 2 for row in spread)
    page = (run / "report.html").read_text()
    assert "thin lines are single processes" in page
    assert "an app decodes a picture" in page
    for folder in (run, cache):
        for path in folder.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.stdout + done.stderr

    checked = edgekd("verify", run)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    for row in document["models"]:
        assert f"figures of {row['id']}" in checked.stdout
    assert checked.stdout.count("computed anew: top-1") == len(document["models"])
