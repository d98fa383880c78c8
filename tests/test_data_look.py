"""``edgekd data``: what is counted, by hand; what a messy folder is told; known sets."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgekd import cli
from edgekd.config.data import Data
from edgekd.data import DATASETS, medmnist
from edgekd.data.contact_sheet import contact_sheet
from edgekd.data.known import known
from edgekd.data.look import look
from edgekd.data.made_up import made_up_images
from edgekd.data.pool import ahead, ordered
from edgekd.errors import DataError

MakeNpz = Callable[..., Path]


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.main, ["data", *map(str, words)])


def document(path: Path, **config: Any) -> Mapping[str, Any]:
    return look(Data(path=str(path), **config)).document


def save(path: Path, image: np.ndarray | Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Two classes as people keep them: copies, one under another label, one darker, two broken files, a circle."""
    root, images = tmp_path / "clinic", made_up_images(6, 40, 9)
    for number in range(3):
        save(root / "cat" / f"{number}.png", images[number])
    save(root / "cat" / "copy of 0.bmp", images[0])
    save(root / "cat" / "darker 1.png", (images[1] * 0.9).astype(np.uint8))
    save(root / "dog" / "3.png", images[3][:, :20])
    save(root / "dog" / "2 again.png", images[2])
    save(root / "dog" / "black.png", Image.new("L", (10, 10)))
    (root / "dog" / "broken.jpg").write_bytes(b"\xff\xd8 not really")
    (root / "dog" / "empty.png").write_bytes(b"")
    (root / "dog" / ".hidden.png").write_bytes(b"passed over")
    (root / "dog" / "loop").symlink_to("..")
    return root


def test_a_messy_folder_is_counted(messy: Path) -> None:
    found = document(messy)
    assert (found["name"], found["public"], found["num_images"], found["splits"]) == ("clinic", False, 10, {"all": 10})
    assert [(row["name"], row["counts"]) for row in found["classes"]] == [("cat", {"all": 5}), ("dog", {"all": 5})]
    assert found["imbalance"] == 1.0
    assert found["modes"] == {"RGB": 7, "L": 1}
    sizes = found["sizes"]
    assert (sizes["smallest"], sizes["median"], sizes["largest"]) == ([10, 10], [40, 40], [40, 40])
    assert sizes["common"][0] == {"width": 40, "height": 40, "count": 6}
    assert found["num_blank"] == 1
    assert sorted(row["name"] for row in found["unreadable"]) == ["dog/broken.jpg", "dog/empty.png"]
    assert [row["images"] for row in found["duplicates"]] == [
        ["cat/0.png", "cat/copy of 0.bmp"],
        ["cat/2.png", "dog/2 again.png"],
    ]
    assert found["conflicts"] == [
        {"images": ["cat/2.png", "dog/2 again.png"], "splits": ["all", "all"], "labels": ["cat", "dog"]}
    ]
    assert [row["images"] for row in found["near"]] == [["cat/1.png", "cat/darker 1.png"]]
    assert str(messy.parent) not in json.dumps(found)
    assert found["refused"]


def test_what_a_build_would_refuse_is_said(tmp_path: Path) -> None:
    images = made_up_images(24, 16, 2)
    for number, image in enumerate(images):
        save(tmp_path / "own" / "ab"[number % 2] / f"{number:02}.png", image)
    assert document(tmp_path / "own")["refused"] is None
    (tmp_path / "own" / "a" / "00.png").write_bytes(b"")
    assert "1 unreadable image(s)" in document(tmp_path / "own")["refused"]
    assert document(tmp_path / "own", skip_unreadable=True)["refused"] is None
    for number in range(2, 24):
        save(tmp_path / "own" / "ab"[number % 2] / f"{number:02}.png", images[number % 2])
    refused = document(tmp_path / "own", skip_unreadable=True)["refused"]
    assert 'class "a" has too few different images' in refused
    for split, chosen in (("train", images), ("val", images[:4]), ("test", images[4:8])):
        for number, image in enumerate(chosen):
            save(tmp_path / "given" / split / "ab"[number % 2] / f"{number}.png", image)
    refused = document(tmp_path / "given")["refused"]
    assert "pixel for pixel, more than data.max_duplicates = 0.02 allows" in refused
    assert document(tmp_path / "given", deduplicate=True)["refused"] is None


def test_classes_that_look_alike_do_not_end_the_look(tmp_path: Path) -> None:
    images = made_up_images(3, 16, 0)
    for name, image in zip(("Pneumonia", "pneumonia ", "normal"), images, strict=True):
        save(tmp_path / "own" / name / "x.png", image)
    found = document(tmp_path / "own")
    assert found["lookalike_classes"] == [["Pneumonia", "pneumonia "]]
    assert "labels that differ only in case" in found["refused"]
    assert found["refused"].startswith('"own"')


def test_levels_are_those_of_the_pixels(tmp_path: Path) -> None:
    # 10 and 30 in equal shares: mean 20, deviation 10; of class b all are 200.
    save(tmp_path / "own" / "a" / "1.png", Image.new("L", (4, 4), 10))
    save(tmp_path / "own" / "a" / "2.png", Image.new("L", (4, 4), 30))
    save(tmp_path / "own" / "b" / "1.png", Image.new("RGB", (8, 2), (200, 200, 200)))
    found = {row["name"]: row["intensities"] for row in document(tmp_path / "own")["classes"]}
    assert found == {
        "a": {"mean": 20.0, "std": 10.0, "p1": 10, "p99": 30},
        "b": {"mean": 200.0, "std": 0.0, "p1": 200, "p99": 200},
    }


def test_several_labels_are_counted_one_by_one(make_npz: MakeNpz) -> None:
    counts = {"train": 24, "val": 8, "test": 10}
    path = make_npz(**{f"{split}_labels": (np.arange(n)[:, None] >> np.arange(2)) % 2 for split, n in counts.items()})
    found = {row["name"]: row["counts"] for row in document(path)["classes"]}
    # Numbers 0 to n - 1 in binary: the last bit, the one before it, neither.
    assert found == {
        "label_0": {"train": 12, "val": 4, "test": 5},
        "label_1": {"train": 12, "val": 4, "test": 4},
        "none of them": {"train": 6, "val": 2, "test": 3},
    }


def test_what_is_printed(messy: Path) -> None:
    shown = run("inspect", messy)
    assert shown.exit_code == 0
    for text in (
        "clinic: 10 images",
        "unreadable: 2",
        "the same pixel for pixel: 2",
        "  cat/2.png (cat) = dog/2 again.png (dog)",
        "nearly the same: 1",
        "a build would refuse this: ",
    ):
        assert text in shown.stdout
    assert str(messy.parent) not in shown.stdout
    assert json.loads(run("inspect", messy, "--json", "--quiet").stdout)["num_images"] == 10


def test_sheets_of_own_data_only_when_asked(messy: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in messy.rglob("*"))
    shown = run("inspect", messy, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inspection.json"]
    assert "--contact-sheet writes them" in shown.stdout
    run("inspect", messy, "--out", tmp_path / "out", "--contact-sheet")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"inspection.json", "class_00.png", "class_01.png", "near_duplicates.png"}
    with Image.open(tmp_path / "out" / "class_01.png") as sheet:
        assert sheet.size == (3 * 100 + 4, 104)  # the three that can be read
    written = json.loads((tmp_path / "out" / "inspection.json").read_text(encoding="utf-8"))
    assert written["sheets"]["class_01.png"] == '3 of 3 images of class "dog"'
    assert sorted(path.name for path in messy.rglob("*")) == before


def test_a_public_set_gets_its_sheets(shared_data: Path, tmp_path: Path) -> None:
    shown = run("inspect", shared_data / "breastmnist.npz", "--out", tmp_path)
    assert "1 image(s) of test stand in train too, pixel for pixel" in shown.stdout
    assert {path.name for path in tmp_path.glob("*.png")} == {"class_00.png", "class_01.png", "near_duplicates.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "breastmist"], 'did you mean "breastmnist"'),
        (["inspect", "."], "has no images"),
        (["inspect", "synthetic_cells", "--set", "distill.epochs=1"], "only keys of the table data"),
        (["inspect", "synthetic_cells", "--set", "data.split_sed=1"], 'did you mean "split_seed"'),
        (["inspect", "synthetic_cells", "--contact-sheet"], "--out DIR"),
        (["fetch", "breastmist"], 'did you mean "breastmnist"'),
    ],
)
def test_wrong_turns(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run(*words)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert "\n" not in shown.stderr.strip()


def test_the_list_names_every_set_with_its_published_figures() -> None:
    rows = {row.name: row for row in known()}
    assert set(rows) == set(DATASETS)
    assert rows["dermamnist"].licence == "CC BY-NC 4.0"
    assert (rows["chestmnist"].task, rows["chestmnist"].num_classes) == ("multi-label", 14)
    assert rows["cifar100"].counts == (45_000, 5_000, 10_000)
    listed = json.loads(run("list", "--json").stdout)
    assert {row["name"] for row in listed} == set(rows)
    assert "pneumoniamnist" in run("list").stdout


def test_fetch_names_the_file_and_its_digest(
    tmp_path: Path, make_npz: MakeNpz, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_npz("breastmnist.npz")
    monkeypatch.setattr(medmnist, "fetch", lambda name, folder: path)
    shown = run("fetch", "breastmnist")
    assert shown.stdout == f"breastmnist: {path}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    assert "synthetic_cells: has no file of its own, SHA-256 " in run("fetch", "synthetic_cells").stdout


def test_a_sheet_is_a_grid() -> None:
    sheet = np.asarray(contact_sheet([Image.new("RGB", (10, 10), colour) for colour in ("red", "lime", "blue")], 2))
    assert sheet.shape == (204, 204, 3)
    assert sheet[50, 50].tolist() == [255, 0, 0]
    assert sheet[50, 150].tolist() == [0, 255, 0]
    assert sheet[150, 50].tolist() == [0, 0, 255]
    assert sheet[150, 150].tolist() == [128, 128, 128]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_not_far_ahead(threads: int) -> None:
    started: list[int] = []

    def square(index: int) -> int:
        started.append(index)
        return index * index

    results = ordered(square, 50, threads=threads)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(started) <= 3 + 2 * threads
    assert list(results) == [index * index for index in range(3, 50)]

    def fail(index: int) -> int:
        raise DataError(f"number {index}")

    with pytest.raises(DataError, match="number 0"):
        list(ordered(fail, 5, threads=threads))


def test_the_next_item_is_made_while_one_is_used() -> None:
    made: list[int] = []
    asked = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            asked[number].set()
            yield number

    given = ahead(items())
    assert next(given) == 0
    assert asked[1].wait(10)  # without being asked for
    assert list(given) == [1, 2]
    assert made == [0, 1, 2]

    def broken() -> Iterator[int]:
        yield 1
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        list(ahead(broken()))
