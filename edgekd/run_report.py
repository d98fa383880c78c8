"""``report.json`` as Python sees it: frozen rows with names and types, and beneath them everything that the file has.

What the file holds is described by ``schemas/report.schema.json``. The rows here are what tools read most; the rest is
reached by key, ``report["attribution"]``, as it stands in the file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.artifact import read_json
from edgekd.errors import DataError, did_you_mean

REPORT_FILE = "report.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Scores:
    """How good a model is on one split.

    Attributes:
        accuracy: share of images whose most probable class is the label; multi-label: of right yes-or-no answers.
        auc: area under the ROC curve; of more than two classes the mean over them, each against the rest.
        recalls: share of each class's images that are found, by class name.
        ece: expected calibration error, 15 bins.
        n: images.
    """

    accuracy: float
    auc: float
    recalls: Mapping[str, float]
    ece: float
    n: int


@dataclass(frozen=True)
class Latency:
    """Time of one inference on one target, in milliseconds.

    Attributes:
        target: device profile; host time is not a phone's time.
        kernel: kernel path of LiteRT.
        p50_ms: median over all runs.
        p50_ci95_ms: its 95 % interval over processes; None where there was one process.
        p90_ms, p99_ms: percentiles; None where there were too few runs to certify them.
        init_ms: until the model is ready for its first inference.
    """

    target: str
    kernel: str
    p50_ms: float
    p50_ci95_ms: tuple[float, float] | None
    p90_ms: float | None
    p99_ms: float | None
    init_ms: float


@dataclass(frozen=True)
class Model:
    """One measured model; all but a teacher from elsewhere lie in ``models/`` of the run folder.

    Attributes:
        id: ``student_int8`` and the like.
        role: ``teacher`` or ``student``.
        shipped: whether the bundle holds it.
        steps: what was done to it, in order: ``distilled``, ``channel_pruned``, ``ptq``, ...
        dtype: ``fp32``, ``fp16``, ``dynamic``, ``int8``, ``int16x8`` or ``mixed``.
        file: relative to the run folder.
        tflite_bytes, gzip_bytes: size of the file, as it is and after gzip.
        num_params, macs: parameters, and multiply-accumulates of one inference.
        measured_sparsity: fraction of zeros among its weights.
        val, test: figures on the two splits.
        latency: one row for each target.
    """

    id: str
    role: str
    shipped: bool
    steps: tuple[str, ...]
    dtype: str
    file: str
    tflite_bytes: int
    gzip_bytes: int
    num_params: int
    macs: int
    measured_sparsity: float
    val: Scores
    test: Scores
    latency: tuple[Latency, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence about the test split, and whether the data carry it.

    Attributes:
        id: ``accuracy_vs_teacher_fp32`` and the like.
        text: the sentence, figures included.
        verdict: ``shown``, ``not shown`` or ``refuted``.
        estimate, ci95: a difference, or a ratio, with its 95 % interval.
        margin: what had to be kept, stated beforehand.
        n: test images; None where the claim is not about images.
    """

    id: str
    text: str
    verdict: str
    estimate: float
    ci95: tuple[float, float]
    margin: float
    n: int | None


@dataclass(frozen=True)
class Gate:
    """A limit of the recipe, decided on val.

    Attributes:
        id: the recipe's key without its table.
        limit: as the recipe has it.
        measured: of the shipped model.
        held: whether it was kept; a limit that is just met holds.
    """

    id: str
    limit: float
    measured: float
    held: bool


@dataclass(frozen=True, eq=False)  # equal where the mappings are
class Report(Mapping[str, Any]):
    """The report of a run. It is a mapping too: ``report["models"]`` is what ``report.json`` has under that name.

    Attributes:
        content: all of ``report.json``.
    """

    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Report:
        """Read the report of a run folder, or a ``report.json``.

        Raises:
            DataError: no report there, or one that this version of edgekd does not know.
        """
        file = Path(path) / REPORT_FILE if Path(path).is_dir() else Path(path)
        try:
            content = read_json(file)
        except (OSError, ValueError):
            raise DataError(f'"{path}" has no report: a run folder, or its {REPORT_FILE}, is wanted') from None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(
                f'"{file}": schema version {version!r} is not known, {SCHEMA_VERSION} is; use the edgekd that wrote it'
            )
        return cls(content)

    @functools.cached_property
    def models(self) -> tuple[Model, ...]:
        """Every measured model, the teacher first."""
        return tuple(_model(row) for row in self.content["models"])

    @property
    def shipped(self) -> Model:
        """The model that the bundle holds."""
        return next(model for model in self.models if model.shipped)

    def model(self, id: str) -> Model:
        """The model of that id. Raises DataError, which names the nearest, where there is none."""
        found = {model.id: model for model in self.models}
        if id not in found:
            raise DataError(f'this run has no model "{id}"{did_you_mean(id, found)}')
        return found[id]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is said of the shipped model, each sentence with its verdict."""
        return tuple(Claim(**_only(Claim, row, ci95=tuple(row["ci95"]))) for row in self.content["claims"])

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The limits of the recipe, and whether they were kept."""
        return tuple(Gate(**_only(Gate, row)) for row in self.content["gates"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader has to know: of the data, the figures and the timing."""
        return tuple(self.content["dataset"]["warnings"])

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def _model(row: Mapping[str, Any]) -> Model:
    latency = tuple(_latency(entry) for entry in row["latency"])
    splits = {split: _scores(row[split]) for split in ("val", "test")}
    return Model(**_only(Model, row, steps=tuple(row["steps"]), latency=latency, **splits))


def _scores(row: Mapping[str, Any]) -> Scores:
    accuracy = row["top1"] if "top1" in row else row["label_accuracy"]
    recalls = {entry["name"]: entry["recall"] for entry in row["per_class"]}
    return Scores(accuracy, row["auc"], recalls, row["ece"], row["n"])


def _latency(row: Mapping[str, Any]) -> Latency:
    interval = row["p50_ci95_ms"]
    return Latency(**_only(Latency, row, p50_ci95_ms=None if interval is None else tuple(interval)))


def _only(kind: Any, row: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """What a row holds of a dataclass's fields; the file may have more."""
    return {name: changes[name] if name in changes else row[name] for name in kind.__dataclass_fields__}
