from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgekd import cli, recipe, target
from edgekd.config.data import Data
from edgekd.errors import ModelError, RecipeError
from edgekd.init import EFFORTS, Answers, Seen, choose, look, write
from edgekd.init.choose import epochs, image_size
from edgekd.init.write import documentation


def seen(**changes: Any) -> Seen:
    facts: dict[str, Any] = {
        **{"name": "own", "task": "binary", "median_side": 28, "num_train": 1000, "num_val": 300, "num_test": 300},
        **{"class_counts": {"ill": 480, "well": 520}, "warnings": ()},
    }
    return Seen(**facts | changes)


def values(found: Seen, answers: Answers | None = None, *, active: bool = True) -> dict[str, Any]:
    choices = choose(found, answers or Answers(), {"data.path": "x"})
    return {choice.key: choice.value for choice in choices if choice.active == active}


@pytest.mark.parametrize(
    ("side", "chosen"), [(16, 32), (28, 32), (42, 32), (43, 64), (85, 64), (86, 96), (150, 128), (2000, 128)]
)
def test_the_image_size_is_the_smallest_that_is_three_quarters_of_the_images(side: int, chosen: int) -> None:
    assert image_size(side) == chosen
    sized = recipe.sized_to(recipe.load("default", {"data.path": "x"}), num_train=99, median_side=side, num_threads=1)
    assert sized.data.image_size == chosen  # as a recipe that leaves it open has it


@pytest.mark.parametrize(
    ("stage", "effort", "num_train", "expected"),
    [
        ("teacher", "balanced", 4708, 13),  # 60,000 / 4,708 = 12.7
        ("teacher", "quick", 4708, 5),  # 3.2, and 5 at least
        ("distill", "thorough", 4708, 51),  # 240,000 / 4,708 = 50.98
        ("distill", "balanced", 100, 100),
        ("distill", "quick", 100, 25),
        ("prune", "balanced", 100, 40),
        ("teacher", "balanced", 10**6, 5),
    ],
)
def test_epochs(stage: str, effort: str, num_train: int, expected: int) -> None:
    assert epochs(stage, effort, num_train) == expected


def test_what_is_chosen_follows_the_data() -> None:
    plain = values(seen())
    assert "teacher.training.class_weights" not in plain
    assert "distill.training.keep" not in plain
    assert plain["data.num_calibration_samples"] == 256
    assert plain["gates.max_accuracy_drop_pp"] == 2.0  # three of 300 are one point
    uneven = values(seen(class_counts={"ill": 100, "well": 900}, num_train=1000))
    assert uneven["teacher.training.class_weights"] == uneven["distill.training.class_weights"] == "balanced"
    few = values(seen(num_train=100, num_val=24))
    assert few["distill.training.keep"] == "last"
    assert few["distill.training.batch_size"] == 12
    assert few["data.num_calibration_samples"] == 100
    assert few["gates.max_accuracy_drop_pp"] == 12.5  # three of 24


def test_what_is_chosen_follows_the_answers() -> None:
    plain = values(seen())
    assert plain["distill.views.horizontal_flip"] is plain["teacher.views.horizontal_flip"] is False
    assert values(seen(), Answers(mirrored=True))["distill.views.horizontal_flip"] is True
    started = values(seen(), Answers(pretrained=True))
    assert started["teacher.weights"] == started["distill.weights"] == "imagenet"
    assert "teacher.weights" not in plain
    assert values(seen(), Answers(effort="quick"))["prune.method"] == "none"
    assert values(seen(), Answers(effort="thorough"))["distill.train_alone"] is True
    assert values(seen(), Answers(guarded="ill"))["gates.min_recall.ill"] == 0.9
    with pytest.raises(RecipeError, match="unknown target"):
        values(seen(), Answers(target="phone"))


def test_what_is_chosen_follows_the_target() -> None:
    phone, small = (
        values(seen(median_side=500), Answers(target=name)) for name in ("host-as-phone-1t", "microcontroller")
    )
    assert (phone["distill.student"], phone["data.image_size"], phone["budget.max_p50_ms"]) == (
        "mobilenet_v2",
        128,
        33.0,
    )
    assert phone["gates.max_tflite_bytes"] == 1_000_000
    assert (small["distill.student"], small["data.image_size"]) == ("mobilenet_v1", 96)
    assert small["gates.max_tflite_bytes"] == target.load("microcontroller").limits.max_tflite_bytes == 786_432
    assert "budget.max_p50_ms" not in small  # nothing is timed there


@pytest.mark.parametrize("name", target.names())
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("pretrained", [False, True])
def test_every_recipe_can_be_read_and_every_key_is_explained(name: str, effort: str, pretrained: bool) -> None:
    answers = Answers(name, effort, True, pretrained, 'gut "und" böse')
    counts = {'gut "und" böse': 10, "else": 90}
    choices = choose(seen(class_counts=counts, num_train=100, num_val=20), answers, {"data.path": r"C:\images"})
    text = write(choices, ["A recipe."])
    made = recipe.from_table({"name": "x", **tomllib.loads(text)})
    assert made.data.path == r"C:\images"
    assert made.benchmark.target == name
    assert made.gates.min_recall == {'gut "und" böse': 0.9}
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    for index, line in enumerate(lines):
        if ("=" in line and not line.startswith("# ")) or line.startswith("# min_auc"):
            assert lines[index - 1].startswith("# "), line
    # What stands as a comment is right too: without its mark it is read.
    keys = [choice.key.rpartition(".")[2] for choice in choices if not choice.active]
    awake = "\n".join(line[2:] if line.startswith(tuple(f"# {key} = " for key in keys)) else line for line in lines)
    other = recipe.from_table({"name": "x", **tomllib.loads(awake)})
    assert (other.gates.min_auc, other.bundle.min_confidence) == (0.9, 0.7)


def test_documentation_is_that_of_the_field() -> None:
    assert documentation("distill.training.batch_size") == "images per step"
    assert documentation("gates.min_recall.ill") == "least recall of a class, by class name"
    with pytest.raises(KeyError):
        documentation("distill.batch_size")


def folder_of(root: Path, counts: dict[str, int], side: int = 20) -> Path:
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 256, (side, side + 4), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def test_looking(tmp_path: Path) -> None:
    found = look(Data(path=str(folder_of(tmp_path / "own", {"ill": 20, "well": 40}))))
    # 15 % for val and for the test of each class: 3 of 20, 6 of 40.
    assert (found.num_train, found.num_val, found.num_test) == (42, 9, 9)
    assert found.class_counts == {"ill": 14, "well": 28}
    assert (found.name, found.task, found.median_side, found.imbalance) == ("own", "binary", 20, 2.0)


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    folder_of(work / "my images", {"ill": 20, "well": 40})
    monkeypatch.chdir(work)
    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    return work


def call(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["init", *arguments, "--no-measure"], input=answers)


def test_what_it_writes_passes_the_dry_run(place: Path, tmp_path: Path) -> None:
    result = call("my images", "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("\n") <= 1  # what is said of the data is said once
    lines = result.stdout.splitlines()
    assert lines[0].startswith("my images: 42 images to train on, 9 to choose on (val), 9 for the test; 20 pixels")
    assert lines[1] == "binary, 2 classes, in train: ill 14, well 28"
    assert "wrote my_images.toml" in lines
    assert lines[-1] == "next: edgekd build my_images.toml"
    planned = CliRunner().invoke(cli.main, ["build", "my_images.toml", "--dry-run", "--no-measure"])
    assert planned.exit_code == 0, planned.stderr
    assert planned.stdout.startswith(
        "recipe my_images: images of 32 pixels, teacher resnet_small, student mobilenet_v2"
    )
    assert not (tmp_path / "cache").exists()
    assert sorted(path.name for path in place.iterdir()) == ["my images", "my_images.toml"]


def test_weights_that_cannot_be_had_are_said_so_and_the_recipe_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("the download failed")

    monkeypatch.setattr("edgekd.pipeline.plan", fail)
    result = call("my images", "--yes", "--pretrained")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "edgekd: my_images.toml is written, and cannot be built yet: the download failed; or write it anew with "
        "--from-scratch --force\n"
    )
    assert recipe.load("my_images.toml").distill.weights == "imagenet"


def test_five_questions_at_most(place: Path) -> None:
    result = call(answers="my images\nhost-as-phone-1t\nquick\ny\nn\n")
    assert result.exit_code == 0, result.stderr
    made = recipe.load("my_images.toml")
    assert (made.benchmark.target, made.prune.method) == ("host-as-phone-1t", "none")
    assert (made.distill.views.horizontal_flip, made.teacher.weights) == (True, "none")
    assert result.stderr.count("?") == 5


def test_a_recipe_that_is_there_stays(place: Path) -> None:
    path = place / "my_images.toml"
    path.write_text("mine")
    result = call("my images", "--yes")
    assert result.exit_code == 2
    assert "--force replaces it" in result.stderr
    assert path.read_text() == "mine"
    assert call("my images", "--yes", "--force").exit_code == 0
    assert recipe.load(str(path)).data.path == "my images"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--yes"], "which data?"),
        (
            ["my imges", "--yes"],
            'DATA "my imges" is neither a file, a folder nor a known data set; did you mean "my images"',
        ),
        (["my images", "--yes", "--out", "x.txt"], "a recipe ends in .toml"),
        (["my images", "--yes", "--target", "hots"], 'unknown target "hots"; did you mean "host"?'),
        (["my images", "--yes", "--effort", "quik"], 'unknown effort "quik"; did you mean "quick"?'),
        (["my images", "--yes", "--guard", "il"], '--guard "il": no such class; did you mean "ill"?'),
        (["my images"], "nobody answered; --yes takes the defaults"),
        (["my images", "--yes", "--out", "my images/ill/0.png/x.toml"], "cannot be written"),
    ],
)
def test_wrong_turns(place: Path, arguments: list[str], message: str) -> None:
    result = call(*arguments, answers="")
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in place.iterdir()] == ["my images"]
