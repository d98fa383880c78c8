"""Pairs that are nearly the same, in the report: side by side where images may be shown, by name where not."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reports import document_by_hand

from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.config.report import Report
from edgekd.data import Dataset, prepare
from edgekd.data.made_up import made_up_images
from edgekd.lookalikes import SHOWN, lookalikes
from edgekd.page import render
from edgekd.stages.report import check


@pytest.fixture
def prepared(tmp_path: Path) -> Artifact:
    """Given splits of 8 images each; number 20, of test, is number 2, of train, a tenth darker."""
    images = made_up_images(24, 20, 6)
    images[20] = (images[2] * 0.9).astype(np.uint8)
    for number, image in enumerate(images):
        path = tmp_path / "own" / ("train", "val", "test")[number // 8] / "ab"[number % 2] / f"p{number:02}_1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "out").mkdir()
    return prepare(Data(path=str(tmp_path / "own"), image_size=16, num_calibration_samples=4), tmp_path / "out")


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))


@pytest.mark.parametrize("setting", ["public", "never"])
def test_of_own_data_the_names_alone_are_shown(prepared: Artifact, setting: str, tmp_path: Path) -> None:
    found = lookalikes(prepared, Report(setting))
    names = ["train/a/p02_1.png", "test/a/p20_1.png"]
    assert found == {
        "near_duplicates": {
            "num_pairs": 1,
            "pairs": [{"splits": ["train", "test"], "names": names, "thumbnails": None}],
        }
    }
    document = document_by_hand() | found
    document["recipe"]["report"]["thumbnails"] = setting
    check(document)
    page = render(document, "report.html.j2")
    section = page[page.index('<section id="data"') : page.index('<section id="models"')]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", section) == [
        "train: train/a/p02_1.png",
        "test: test/a/p20_1.png",
    ]
    assert "<img" not in page
    assert f'No thumbnails: report.thumbnails = "{setting}".' in html.unescape(section)
    assert str(tmp_path) not in page


def test_where_they_may_be_shown_they_stand_side_by_side(prepared: Artifact) -> None:
    found = lookalikes(prepared, Report("always"))
    dataset = Dataset.open(prepared)
    document = document_by_hand() | found
    check(document)
    page = render(document, "report.html.j2")
    first, second = re.findall(r'<img src="(data:image/png;base64,[^"]*)"', page)
    # Of class a, numbers 0, 2, 4, 6 lie in train and 16, 18, 20, 22 in test.
    np.testing.assert_array_equal(decoded(first), dataset.train.images[1])
    np.testing.assert_array_equal(decoded(second), dataset.test.images[2])
    assert 'alt="test/a/p20_1.png, of test"' in page
    assert "Text may be burned into pixels" in page


def test_where_there_are_none_nothing_is_said(tiny_data: Artifact) -> None:
    assert lookalikes(tiny_data, Report("always")) == {}
    assert "Nearly the same" not in render(document_by_hand(), "report.html.j2")


def test_of_many_the_first_are_shown(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "breastmnist.npz"
    config = Data(name="breastmnist", path=str(path), image_size=28)
    found = lookalikes(prepare(config, tmp_path), Report())["near_duplicates"]
    assert found["num_pairs"] > len(found["pairs"]) == SHOWN
    page = render(document_by_hand() | {"near_duplicates": found}, "report.html.j2")
    assert f"{found['num_pairs']} pairs, the first {SHOWN} of them" in page
    assert page.count("<img") == 2 * SHOWN
    with np.load(path) as arrays:  # grey, at their own size
        for pair in found["pairs"]:
            for split, name, shown in zip(pair["splits"], pair["names"], pair["thumbnails"], strict=True):
                number = int(re.fullmatch(rf"{split}\[(\d+)\]", name)[1])
                np.testing.assert_array_equal(decoded(shown)[..., 0], arrays[f"{split}_images"][number])
