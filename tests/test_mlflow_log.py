from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgekd import cli, mlflow_log
from edgekd.cache import StageRecord
from edgekd.errors import MissingRequirementError, UserError
from edgekd.pipeline import Run

REPORT: dict[str, Any] = {
    "edgekd_version": "0.1.0",
    "recipe": {"name": "own", "seed": 3, "distill": {"temperature": 2.0, "training": {"epochs": 5}}},
    "dataset": {"name": "halves", "sha256": "ab"},
    "models": [
        {
            **{"id": "student_int8", "tflite_bytes": 620502, "measured_sparsity": None, "num_params": 400},
            "val": {"top1": 0.75, "per_class": []},
            "test": {"top1": 0.5, "auc": 0.625, "n": 24},
            "latency": [{"target": "host", "kernel": "xnnpack", "p50_ms": 0.03125}],
        }
    ],
    "gates": [{"id": 'min_recall."a(b)"', "held": False}],
}


def run_in(path: Path, report: dict[str, Any] | None = REPORT) -> Run:
    path.mkdir()
    (path / "report.md").write_text("# Report\n")
    (path / "recipe.toml").write_text('name = "own"\n')
    return Run(path, report, (StageRecord("teacher", "k", False, 1.5),))


def test_parameters_are_dotted_keys() -> None:
    assert dict(mlflow_log.parameters(REPORT["recipe"])) == {
        **{"name": "own", "seed": "3", "distill.temperature": "2.0", "distill.training.epochs": "5"}
    }
    assert dict(mlflow_log.parameters({"x": "y" * 900})) == {"x": "y" * 500}


def test_metrics(tmp_path: Path) -> None:
    assert dict(mlflow_log.metrics(run_in(tmp_path / "run"))) == {
        "stages.teacher.seconds": 1.5,
        "student_int8.val.top1": 0.75,
        "student_int8.test.top1": 0.5,
        "student_int8.test.auc": 0.625,
        "student_int8.test.n": 24.0,
        "student_int8.tflite_bytes": 620502.0,
        "student_int8.num_params": 400.0,
        "student_int8.host.xnnpack.p50_ms": 0.03125,
        "gates.min_recall._a_b__.held": 0.0,
    }


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return pytest.importorskip("mlflow", reason="the extra mlflow is not installed")


def test_a_run_is_logged_to_a_folder(mlflow: Any, tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    first = mlflow_log.log(run_in(tmp_path / "run"), uri)
    second = mlflow_log.log(run_in(tmp_path / "until", None), uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgekd")
    assert {found.info.run_id for found in client.search_runs([experiment.experiment_id])} == {first, second}
    logged = client.get_run(first)
    assert (logged.info.run_name, logged.info.status) == ("own", "FINISHED")
    assert logged.data.params["distill.training.epochs"] == "5"
    assert logged.data.metrics["student_int8.test.auc"] == 0.625
    assert logged.data.tags["dataset_sha256"] == "ab"
    assert {file.path for file in client.list_artifacts(first)} == {"report.md", "recipe.toml"}
    assert client.get_run(second).data.metrics == {"stages.teacher.seconds": 1.5}


def test_an_address_that_cannot_be_used_names_the_finished_run(mlflow: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'--mlflow "nonsense://x": .* The run itself is finished'):
        mlflow_log.log(run_in(tmp_path / "run"), "nonsense://x")


def test_an_address_that_cannot_be_used_is_refused_before_the_build(
    mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.api.build", lambda *_, **__: pytest.fail("nothing is to be built"))
    result = CliRunner().invoke(cli.main, ["build", "--mlflow", "nonsense://x"])
    assert result.exit_code == 2
    assert result.stderr.startswith('edgekd: --mlflow "nonsense://x": ')


def test_without_mlflow_the_build_ends_with_3_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "mlflow":
            raise ImportError("No module named 'mlflow'")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr("edgekd.api.build", lambda *_, **__: pytest.fail("nothing is to be built"))
    with pytest.raises(MissingRequirementError):
        mlflow_log.require()
    result = CliRunner().invoke(cli.main, ["build", "--mlflow", str(tmp_path)])
    assert result.exit_code == 3
    assert 'python -m pip install "edgekd[mlflow]"' in result.stderr
