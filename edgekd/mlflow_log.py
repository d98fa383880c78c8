"""A finished run in MLflow: the recipe as parameters, the figures as metrics, the reports as artifacts.

Needs the extra ``mlflow`` (``mlflow-skinny``). Nothing of MLflow's own state is set: the client is told its address.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekd.errors import MissingRequirementError, UserError

if TYPE_CHECKING:
    from edgekd.pipeline import Run

logger = logging.getLogger("edgekd")

EXPERIMENT = "edgekd"
REPORTS = ("report.html", "report.md", "report.json", "recipe.toml")
LONGEST = 500
"""Characters of a parameter's value that every store of MLflow takes."""


def require() -> Any:
    """Import MLflow. Raises MissingRequirementError with the line that installs it."""
    try:
        import mlflow
    except ImportError as error:
        raise MissingRequirementError(
            f'--mlflow needs the extra mlflow ({error}): python -m pip install "edgekd[mlflow]"'
        ) from None
    return mlflow


def check(uri: str) -> None:
    """Raise what :func:`log` would raise of the address, before anything is built; makes the experiment."""
    with _explained(uri):
        _open(uri)


def log(run: Run, uri: str) -> str:
    """Log a run.

    Args:
        run: of :func:`edgekd.build`.
        uri: of a tracking server (``http://...``), or of a store that MLflow takes (``sqlite:///runs.db``, a folder).

    Returns:
        MLflow's id of the run.

    Raises:
        MissingRequirementError: MLflow is not installed.
        UserError: the address cannot be used, with MLflow's own reason.
    """
    with _explained(uri, f". The run itself is finished: {run.path}"):
        client, place = _open(uri)
        name = run.report["recipe"]["name"] if run.report else run.path.name
        id = str(client.create_run(place, run_name=name).info.run_id)
        if run.report:
            for key, value in parameters(run.report["recipe"]):
                client.log_param(id, key, value)
            for key, value in tags(run.report):
                client.set_tag(id, key, value)
        for key, number in metrics(run):
            client.log_metric(id, key, number)
        for file in REPORTS:
            if (run.path / file).is_file():
                client.log_artifact(id, str(run.path / file))
        client.set_terminated(id, "FINISHED")
    logger.info(f"logged to MLflow, experiment {EXPERIMENT}, run {id}")
    return id


def _open(uri: str) -> tuple[Any, str]:
    """A client of this address, and the id of our experiment there."""
    client = require().MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client, experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)


@contextmanager
def _explained(uri: str, more: str = "") -> Iterator[None]:
    mlflow = require()
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f'--mlflow "{uri}": {reason}{more}') from error


def parameters(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a recipe and their values as text."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from parameters(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)[:LONGEST]


def metrics(run: Run) -> Iterator[tuple[str, float]]:
    """Figures of every model on val and test, bytes, latency; seconds of every stage; gates as 1 or 0."""
    for record in run.stages:
        yield f"stages.{record.name}.seconds", record.seconds
    if run.report is None:
        return
    for model in run.report["models"]:
        for split in ("val", "test"):
            for key, value in (model.get(split) or {}).items():
                if _is_number(value):
                    yield f"{model['id']}.{split}.{key}", float(value)
        for key in ("tflite_bytes", "gzip_bytes", "num_params", "macs", "measured_sparsity"):
            if _is_number(model.get(key)):
                yield f"{model['id']}.{key}", float(model[key])
        for row in model["latency"]:
            yield f"{model['id']}.{row['target']}.{row['kernel']}.p50_ms", float(row["p50_ms"])
    for gate in run.report["gates"]:
        yield f"gates.{_plain(gate['id'])}.held", float(gate["held"])


def tags(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What tells one run from another beside its recipe."""
    yield "edgekd_version", str(report["edgekd_version"])
    yield "dataset", str(report["dataset"]["name"])
    yield "dataset_sha256", str(report["dataset"]["sha256"])
    yield "intended_use", "Not a medical device"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(text: str) -> str:
    """A name of letters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in text)
