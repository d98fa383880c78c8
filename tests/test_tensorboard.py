from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.training import Training, Views
from edgekd.errors import OutputError
from edgekd.progress import Progress, Task
from edgekd.stage_runner import StageRunner
from edgekd.tensorboard import TensorBoardProgress

HISTORY = [
    {"epoch": 0, "loss": 0.5, "val_auc": 0.75},
    {"epoch": 1, "loss": 0.25, "val_auc": 0.875},
]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of the event files of a folder, read by TensorFlow's own reader."""
    from edgekd._keras import tf

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                assert value.metadata.data_class == 1
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def test_epochs_are_steps_and_stages_are_folders(tmp_path: Path) -> None:
    shown = TensorBoardProgress(Progress(), tmp_path / "tb")
    shown.stage("teacher")
    with shown.task("teacher, head", 10) as task:
        task.end_epoch(HISTORY[0])
    with shown.task("teacher", 10) as task:  # goes on in the same stage
        task.skip(5)
        task.advance(5, loss=1.0)
        task.end_epoch(HISTORY[1] | {"epoch": 0, "round": 1})
    shown.stage("distill")
    shown.replay(HISTORY[:1])
    assert curves(tmp_path / "tb" / "teacher") == {
        "loss": [(0, 0.5), (1, 0.25)],
        "val_auc": [(0, 0.75), (1, 0.875)],
    }
    assert curves(tmp_path / "tb" / "distill") == {"loss": [(0, 0.5)], "val_auc": [(0, 0.75)]}


def test_a_later_build_replaces_its_own_curves_and_leaves_others(tmp_path: Path) -> None:
    other = tmp_path / "teacher" / "events.out.tfevents.1.theirs"
    other.parent.mkdir()
    other.write_text("")
    for _ in range(2):
        shown = TensorBoardProgress(Progress(), tmp_path)
        shown.stage("teacher")
        shown.replay(HISTORY)
        shown.close()
    other_too = other.exists()
    other.unlink()
    assert other_too
    assert curves(tmp_path / "teacher")["loss"] == [(0, 0.5), (1, 0.25)]


def test_what_is_shown_is_still_shown(tmp_path: Path) -> None:
    seen: list[object] = []

    class Noted(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images"):
            seen.append((title, total, unit))

            class Inner(Task):
                def advance(self, count: int, **figures: float) -> None:
                    seen.append((count, figures))

                def skip(self, count: int) -> None:
                    seen.append(count)

                def end_epoch(self, figures) -> None:
                    seen.append(dict(figures))

            yield Inner()

        def stage(self, name: str) -> None:
            seen.append(name)

        def replay(self, history) -> None:
            seen.append(len(history))

    shown = TensorBoardProgress(Noted(), tmp_path)
    shown.stage("s")
    with shown.task("t", 3, "x") as task:
        task.skip(1)
        task.advance(2, loss=0.5)
        task.end_epoch(HISTORY[0])
    shown.replay(HISTORY)
    assert seen == ["s", ("t", 3, "x"), 1, (2, {"loss": 0.5}), HISTORY[0], 2]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--tensorboard"):
        TensorBoardProgress(Progress(), tmp_path / "file" / "tb")


def test_a_stage_has_the_same_curves_from_the_cache_and_the_same_key(tmp_path: Path) -> None:
    def train(config: Training, out_dir: Path, *, seed: int, work: Path, progress: Progress) -> Artifact:
        with progress.task("t", 2) as task:
            for row in HISTORY:
                task.end_epoch(row)
        return Artifact.seal(out_dir, {"history": HISTORY})

    keys = []
    for name, progress in (
        ("a", TensorBoardProgress(Progress(), tmp_path / "a")),
        ("b", TensorBoardProgress(Progress(), tmp_path / "b")),
        ("c", Progress()),
    ):
        runner = StageRunner(0, 1, None, Cache(tmp_path / "cache"), progress, None)
        runner.trained("distill", train, config=Training())
        keys.append((runner.records[0].key, runner.records[0].cached))
        if name != "c":
            assert curves(tmp_path / name / "distill")["val_auc"] == [(0, 0.75), (1, 0.875)]
    assert keys == [(keys[0][0], False), (keys[0][0], True), (keys[0][0], True)]


def test_training_tells_of_every_epoch_also_of_those_before_a_kill(tmp_path: Path, tiny_data: Artifact) -> None:
    from edgekd import losses, training
    from edgekd._keras import reset
    from edgekd.data import Dataset
    from edgekd.models import build_student
    from edgekd.step import Learner

    dataset, config = Dataset.open(tiny_data), Training(epochs=3, batch_size=24)

    class Noted(Progress):
        def __init__(self, stop_after: int = 99):
            self.rows: list[dict[str, float]] = []
            self.stop_after = stop_after

        @contextmanager
        def task(self, title: str, total: int, unit: str = "images"):
            outer = self

            class Inner(Task):
                def advance(self, count: int, **figures: float) -> None:
                    if len(outer.rows) == outer.stop_after:
                        raise KeyboardInterrupt

                def end_epoch(self, figures) -> None:
                    outer.rows.append(dict(figures))

                def resume(self, history) -> None:
                    outer.rows += history

            yield Inner()

    def fit(progress: Progress) -> list[dict[str, float]]:
        reset(0)
        model = build_student("ds_cnn", image_size=16, num_classes=2, width_multiplier=0.25)
        learner = Learner.alone(
            model, lambda batch, logits: losses.on_labels(config, batch.targets, logits, batch.weights)
        )
        options = {"training": config, "views": Views(), "seed": 0, "work": tmp_path / "work", "title": "t"}
        return training.fit(learner, dataset, progress=progress, **options)

    with pytest.raises(KeyboardInterrupt):
        fit(Noted(stop_after=2))
    noted = Noted()
    history = fit(noted)
    assert [row["epoch"] for row in noted.rows] == [0, 1, 2]
    assert noted.rows == history
