"""Take a teacher as it is given: as a file, or as an ensemble with files in it. Its answers are looked at first."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import _keras, metrics, tflite
from edgekd.artifact import Artifact, digest_folder, digest_json, sha256_file, write_json
from edgekd.claims import accuracy_difference
from edgekd.config.teacher import Teacher, TeacherFile
from edgekd.data import Dataset, Split
from edgekd.errors import ModelError
from edgekd.models.answers import GIVEN_FILE, SOURCE_FOLDER, open_teacher
from edgekd.models.foreign import open_foreign
from edgekd.models.given import (
    Input,
    as_logits,
    check_one_each,
    classes_differ,
    input_of,
    output_kind,
    unused_settings,
)
from edgekd.models.keras_file import as_teacher
from edgekd.models.kinds import KINDS, kind_of, runtime_of
from edgekd.tasks import Task, probabilities

BATCH_SIZE = 256
ANSWERS_FILE = "answers.npz"
_RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))

Raw = Callable[[NDArray[Any]], NDArray[np.float32]]
Logits = Mapping[str, NDArray[np.float32]]


def given(data: Artifact, config: Teacher, out_dir: Path) -> Artifact:
    """Bring a file into the form of a teacher, measure it on val and test, and refuse one that knows nothing.

    A Keras 2 model becomes one of ours, in ``model/`` and ``teacher_fp32.tflite``. Any other file is copied into
    ``source/`` and runs in a process of its own; ``given.json`` says how it takes images and answers. Facts: ``val``
    and ``test`` with the accuracy of the task and AUC, ``given`` (file, kind, digest), ``models``, ``warnings``; and
    ``answers``, the id and the file of its probabilities ``(n, K)`` on val and test, where it is not run through LiteRT
    as we run a model.

    Raises:
        ModelError: a file that cannot be opened or run, other classes than the data's, answers that say nothing.
        RecipeError: something about its input or output that neither the file nor the recipe says.
    """
    dataset, path = Dataset.open(data), Path(config.model)
    kind, title = kind_of(path), f'teacher "{path.name}"'
    digest = digest_folder(path) if path.is_dir() else sha256_file(path)
    facts: dict[str, Any] = {"given": {"file": path.name, "kind": kind, "runtime": runtime_of(kind), "sha256": digest}}
    if kind == "keras2":
        entries, warnings = _keras2(path, config, dataset, title, out_dir)
    else:
        source = out_dir / SOURCE_FOLDER / path.name
        source.parent.mkdir()
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, source)
        id = f"teacher_{kind}"
        about = {"kind": kind, "file": path.name, "title": title, "num_classes": dataset.num_classes}
        if kind == "logits":
            num_samples = {name: len(getattr(dataset, name).labels) for name in ("train", "val", "test")}
            about, warnings = {**about, "num_samples": num_samples}, unused_settings(config, True)
        else:
            more, warnings = _foreign(kind, source, config, dataset, title)
            about = {**about, **more}
        write_json(out_dir / GIVEN_FILE, about)
        facts["answers"] = {"id": id, "file": ANSWERS_FILE}
        entries = [_describe(source, id)] if kind == "tflite" else []
    return _look(dataset, {**facts, "models": entries, "warnings": warnings}, title, config.file, out_dir)


def mixed(data: Artifact, members: Sequence[Artifact], config: Sequence[str], out_dir: Path) -> Artifact:
    """An ensemble of which at least one member is a file: its logits are the mean of its members' logits.

    Args:
        data: images, for the figures.
        members: of :func:`given` or of the stage that trains.
        config: their names, in the same order.
        out_dir: where copies of them go, as ``members/<name>``.
    """
    for name, member in zip(config, members, strict=True):
        shutil.copytree(member.path, out_dir / "members" / name)
    figures = {name: member.facts["val"] for name, member in zip(config, members, strict=True)}
    digest = digest_json([member.digest for member in members])
    about = {"file": f"ensemble of {', '.join(config)}", "kind": "ensemble", "sha256": digest}
    facts = {
        "given": about,
        "members": figures,
        "answers": {"id": "teacher_ensemble", "file": ANSWERS_FILE},
        "models": [],
        "warnings": [],
    }
    return _look(Dataset.open(data), facts, "the ensemble", TeacherFile(), out_dir)


def _keras2(
    path: Path, config: Teacher, dataset: Dataset, title: str, out_dir: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    _keras.reset(0)
    model = _keras.load_file(path)
    check_one_each(model.inputs, model.outputs, title)
    shape = list(model.inputs[0].shape)
    takes = _takes(shape, "float32", config, dataset, title)
    warnings = unused_settings(config, None not in shape[1:])
    warnings += _better_ranges(
        lambda values: model(values, training=False).numpy(), takes, "logits", config, dataset, title
    )
    sizes = {"image_size": dataset.image_size, "num_classes": dataset.num_classes}
    ours = as_teacher(model, takes, **sizes, title=title, head=dataset.task.head)
    _keras.save_model(ours, out_dir / "model")
    file = out_dir / "teacher_fp32.tflite"
    file.write_bytes(tflite.convert(tflite.freeze(ours), "fp32"))
    return [_describe(file, "teacher_fp32")], warnings


def _foreign(
    kind: str, source: Path, config: Teacher, dataset: Dataset, title: str
) -> tuple[dict[str, Any], list[str]]:
    """How the model takes images and answers, for ``given.json``; and warnings."""
    with open_foreign(kind, source, title) as model:
        check_one_each(model.inputs, model.outputs, title)
        takes = _takes(*model.inputs[0], config, dataset, title)
        sides = model.outputs[0][0][1:]
        if None not in sides:
            count = int(np.prod([side for side in sides if side is not None]))
            if count != dataset.num_classes and (count, dataset.num_classes) != (1, 2):
                raise ModelError(classes_differ(title, count, dataset.num_classes))
        output = output_kind(_run(model.run, takes, dataset.val), config.file.output, title, dataset.task.head)
        warnings = unused_settings(config, None not in model.inputs[0][0][1:])
        warnings += _better_ranges(model.run, takes, output, config, dataset, title)
    return {"input": dataclasses.asdict(takes), "output": output, "head": dataset.task.head}, warnings


def _takes(shape: Sequence[int | None], dtype: str, config: Teacher, dataset: Dataset, title: str) -> Input:
    return input_of(shape, dtype, config.file, seen_size=config.image_size, image_size=dataset.image_size, title=title)


def _run(raw: Raw, takes: Input, split: Split) -> NDArray[np.float32]:
    starts = range(0, len(split.labels), BATCH_SIZE)
    return np.concatenate(
        [raw(takes.of(split.images[start : start + BATCH_SIZE].astype(np.float32))) for start in starts]
    )


def _better_ranges(raw: Raw, takes: Input, output: str, config: Teacher, dataset: Dataset, title: str) -> list[str]:
    """A warning where val says that another range of the input than the recipe's is meant."""
    if takes.dtype != "float32" or config.file.mean or config.file.std:
        return []

    task = dataset.task

    def correct(takes: Input) -> NDArray[np.bool_]:
        logits = as_logits(_run(raw, takes, dataset.val), output, dataset.num_classes, title, task.head)
        right: NDArray[np.bool_] = task.decisions(probabilities(logits, task.head)) == dataset.val.labels
        return right

    stated, others = correct(takes), {}
    for range in _RANGES:
        file = dataclasses.replace(config.file, range=range)
        others[range] = correct(
            _takes(_shape_of(takes), "float32", dataclasses.replace(config, file=file), dataset, title)
        )
    best = max(others, key=lambda range: float(np.mean(others[range])))
    if accuracy_difference(others[best], stated).low <= 0:
        return []
    return [
        f"{title}: {task.accuracy_title} on val is {np.mean(stated):.3f} with teacher.file.range = "
        f"{list(config.file.range)}, and would be {np.mean(others[best]):.3f} with {list(best)}; is that what it was "
        "trained on?"
    ]


def _shape_of(takes: Input) -> list[int | None]:
    channels = len(takes.offset)
    return [None, *takes.size, channels] if takes.layout == "nhwc" else [None, channels, *takes.size]


def _describe(path: Path, id: str) -> dict[str, Any]:
    entry = tflite.describe(path, id=id, role="teacher", steps=[], shipped=False)
    return {**entry, "file": f"{SOURCE_FOLDER}/{path.name}" if path.parent.name == SOURCE_FOLDER else path.name}


def _look(dataset: Dataset, facts: Mapping[str, Any], title: str, config: TeacherFile, out_dir: Path) -> Artifact:
    """Measure the teacher in ``out_dir`` on val and test; seal it with its figures."""
    splits = {"val": dataset.val, "test": dataset.test}
    with open_teacher(out_dir) as answers:
        logits = {}
        for name, split in splits.items():
            starts = range(0, len(split.labels), BATCH_SIZE)
            parts = []
            for start in starts:
                samples = np.arange(start, min(start + BATCH_SIZE, len(split.labels)))
                parts.append(answers.predict(split.images[samples].astype(np.float32), name, samples))
            logits[name] = np.concatenate(parts)
    _refuse_constant(logits, title)
    task = dataset.task
    probs = {name: probabilities(values, task.head).astype(np.float32) for name, values in logits.items()}
    figures = {
        name: {
            task.accuracy: float(np.mean(task.decisions(probs[name]) == split.labels)),
            "auc": metrics.auc(probs[name], split.labels),
            "n": len(split.labels),
        }
        for name, split in splits.items()
    }
    if not config.accept_weak:
        _refuse_ignorant(figures["val"], dataset.val.labels, task, title, facts["warnings"])
    if "answers" in facts:
        np.savez(out_dir / ANSWERS_FILE, allow_pickle=False, **probs)
    return Artifact.seal(out_dir, {**facts, **figures, "summary": _summary(facts["given"], task, **figures)})


_LOOK_AT = "look at teacher.file: layout, channels, range, mean, std, output; and at the order of its classes"


def _refuse_constant(logits: Logits, title: str) -> None:
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise ModelError(f"{title} gives numbers that are not finite on {name}; {_LOOK_AT}")
        if np.ptp(values, axis=0).max() < 1e-6:
            raise ModelError(f"{title} gives the same answer to every image of {name}; {_LOOK_AT}")


def _refuse_ignorant(
    val: Mapping[str, float], labels: NDArray[np.int64], task: Task, title: str, hints: Sequence[str]
) -> None:
    """Of rare labels, naming none is hard to beat in accuracy: there it is the ranking that tells."""
    largest = 0.5 if task.several else np.bincount(labels).max() / len(labels)
    if task.several:
        measured, what = val["auc"], f"AUC {val['auc']:.3f} on val, no better than chance (0.5)"
    else:
        measured = val[task.accuracy]
        what = f"top-1 {measured:.3f} on val, no better than always naming the largest class ({largest:.3f})"
    if measured <= largest:
        raise ModelError(
            f"{title}: {what}; {_LOOK_AT}. Where the teacher is meant to be so, set teacher.file.accept_weak = true"
            + "".join(f". {hint}" for hint in hints)
        )


def _summary(about: Mapping[str, Any], task: Task, val: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """What the teacher can do, in one line, for the log: it is shown before anything is made of it."""
    kind = KINDS.get(about["kind"], "several models")
    return (
        f"teacher {about['file']} ({kind}): {task.accuracy_title} {val[task.accuracy]:.3f} on val (n = {val['n']}), "
        f"{test[task.accuracy]:.3f} on test (n = {test['n']}); AUC {val['auc']:.3f} and {test['auc']:.3f}"
    )
