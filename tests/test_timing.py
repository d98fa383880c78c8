"""What a build times beside its models, and how runs are put into few numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reports import document_by_hand

from edgekd import preprocessing_times as times
from edgekd.config.data import Data
from edgekd.data import probe
from edgekd.data.made_up import made_up_images
from edgekd.data.source import FileRef
from edgekd.distributions import PERCENTS, distributions
from edgekd.page import render
from edgekd.preprocessing import Picture, preprocess
from edgekd.stages.report import check


def turns(times: list[float]) -> list[list[float]]:
    """In ten turns."""
    return np.reshape(times, (10, -1)).tolist()


def test_percentiles_are_nearest_ranks_of_each_process_and_of_all() -> None:
    first, second = [float(value) for value in range(100, 0, -1)], [float(value) for value in range(101, 201)]
    runs = [
        {"model": "m", "kernel": "xnnpack", "num_threads": 1, "invoke_ms": [turns(first), turns(second)]},
        {"model": "m", "kernel": "reference", "num_threads": 1, "invoke_ms": [[[9.0]]]},
        {"model": "n", "kernel": "xnnpack", "num_threads": 2, "invoke_ms": [[[2.0], [1.0]]]},
    ]
    found = distributions(runs)
    assert found["percents"] == list(PERCENTS)
    one, two = found["models"]
    # Of 1..100 the p-th percentile is p itself; of 1..200 it is 2 p, and 100 more than p of 101..200.
    assert one["processes"] == [[float(p) for p in PERCENTS], [100.0 + p for p in PERCENTS]]
    assert one["ms"] == [2.0 * p for p in PERCENTS]
    assert (one["kernel"], two["model"], two["num_threads"]) == ("xnnpack", "n", 2)
    assert two["ms"] == [1.0 if p <= 50 else 2.0 for p in PERCENTS]


class Clock:
    """Steps on by what was done: 3 ms for decoding, 1 for resizing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_decoding_and_resizing_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(times, "time", clock)
    picture, seen = Image.new("RGB", (8, 8)), []

    def read() -> Picture:
        clock.now += 0.003
        return picture

    def prepare(given: Picture) -> None:
        clock.now += 0.001
        seen.append(given)

    found = times.timed([read] * 7, prepare)
    assert seen == [picture] * 21  # three times, as 14 readings are fewer than 20
    expected = {"decode_p50_ms": 3.0, "resize_p50_ms": 1.0, "p50_ms": 4.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (found["num_images"], found["p90_ms"]) == (7, None)  # p90 takes 64
    assert times.timed([read] * 64, prepare)["p90_ms"] == pytest.approx(4.0)


def test_files_are_prepared_by_the_rules_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for number, image in enumerate(made_up_images(3, 40, 1)):
        files.append(FileRef(tmp_path / f"{number}.png", f"{number}.png"))
        Image.fromarray(image[:30]).save(files[-1].path)
    files[1].path.write_bytes(b"broken")
    made = []

    def noted(picture: Picture, **rule: object) -> np.ndarray:
        made.append(rule)
        return preprocess(picture, **rule)

    monkeypatch.setattr(times, "preprocess", noted)
    found = times.preprocessing_times(files, Data(image_size=16, resize="center_crop", sixteen_bit_max=4095))
    assert (found["of"], found["num_images"]) == ("image files", 2)
    assert made == 20 * [{"size": 16, "resize": "center_crop", "sixteen_bit_max": 4095}]
    assert 0 < found["decode_p50_ms"] < found["p50_ms"] < 1000
    files[0].path.unlink()
    files[2].path.unlink()
    assert times.preprocessing_times(files, Data(image_size=16)) is None


@pytest.mark.parametrize("shape", [(4, 20, 24), (4, 20, 24, 3)])
def test_arrays_become_png_files_with_the_same_pixels(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = []
    monkeypatch.setattr(times, "preprocess", lambda picture, **_: read.append(np.asarray(picture)))
    found = times.preprocessing_times(images, Data(image_size=16))
    assert (found["of"], found["num_images"]) == ("PNG files made of the arrays", 4)
    for number, pixels in enumerate(read):
        np.testing.assert_array_equal(pixels, images[number % 4])
    assert len(read) == 20


def test_a_probe_keeps_the_first_pictures_of_test(make_npz, tmp_path: Path) -> None:
    path = make_npz()
    with np.load(path) as arrays:
        np.testing.assert_array_equal(probe(Data(path=str(path))).pictures, arrays["test_images"])
    for number, image in enumerate(made_up_images(40, 20, 2)):
        file = tmp_path / "own" / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    found = probe(Data(path=str(tmp_path / "own")))
    assert len(found.pictures) == found.num_test
    assert str(tmp_path) not in repr(found)


def test_the_page_has_both_where_they_were_measured() -> None:
    document = document_by_hand()
    plain = render(document, "report.html.j2")
    assert "an app decodes a picture" not in plain
    assert "thin lines are single processes" not in plain
    rows = [
        {"model": row["id"], "kernel": "xnnpack", "num_threads": 1, "invoke_ms": [[[1.0, 2.0]], [[1.5, 2.5]]]}
        for row in document["models"]
        if row["latency"]
    ]
    before = {"num_images": 64, "decode_p50_ms": 3.0, "resize_p50_ms": 1.25, "p50_ms": 4.25, "p90_ms": None}
    document |= {"latency_distributions": distributions(rows), "preprocessing": {"of": times.FILES, **before}}
    check(document)
    page = render(document, "report.html.j2")
    assert "brings it to 32 × 32: 4.250 ms (p50) on this host with one thread and Pillow" in page
    assert "of which decoding 3.000 and resizing 1.250; 64 image files of test" in page
    (words,) = [part for part in page.split('aria-label="') if part.startswith("Distribution of latencies")]
    assert words.count("half of ") == len(rows) == 3
    document["preprocessing"]["p90_ms"] = 5.0
    assert "(p50; p90 5.000)" in render(document, "report.html.j2")
