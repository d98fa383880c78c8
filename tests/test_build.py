"""The whole chain on tiny made-up images: what it leaves, that it is cached, and that a kill changes nothing."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekd
from edgekd._litert import open_interpreter
from edgekd.artifact import sha256_file
from edgekd.pipeline import Run
from edgekd.run_report import Report

TINY = {
    "data.image_size": 32,
    "data.num_calibration_samples": 16,
    "num_threads": 1,
    "teacher.model": "resnet_small",
    "teacher.training.epochs": 3,
    "teacher.training.batch_size": 16,
    "distill.width_multiplier": 0.35,
    "distill.num_views": 2,
    "distill.train_alone": True,
    "distill.training.epochs": 3,
    "distill.training.batch_size": 16,
    "distill.finetune_epochs": 1,
    "prune.training.epochs": 3,
    "prune.training.batch_size": 16,
    "prune.frequency": 1,
    "gates.max_tflite_bytes": 700_000,
    "gates.max_accuracy_drop_pp": 100.0,
    "benchmark.num_processes": 1,
    "benchmark.num_runs": 10,
    "benchmark.warmup_runs": 2,
}


def make_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that survive mirroring: stripes that lie, stripes that stand; noise over both."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = generator.integers(0, 90, (count, 28, 28))
    bright = np.arange(28) % 8 < 4
    images[labels == 0] += 120 * bright[:, None]
    images[labels == 1] += 120 * bright[None, :]
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    arrays = {}
    for seed, (split, count) in enumerate({"train": 96, "val": 32, "test": 40}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(npz: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    # In a process of its own, so that the thread count of this one stays free.
    _build(npz, cache_dir, out)
    return Run(out, Report.read(out), ())


def _command(npz: Path, cache_dir: Path, out: Path, **changes: object) -> list[str]:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in {**TINY, **changes}.items()]
    paths = ["--data", str(npz), "--out", str(out), "--cache-dir", str(cache_dir)]
    return [sys.executable, "-m", "edgekd", "build", *paths, *settings]


def _build(
    npz: Path, cache_dir: Path, out: Path, expect: int = 0, **changes: object
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        _command(npz, cache_dir, out, **changes), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == expect, done.stderr
    return done


def test_the_report_shows_decisions_on_own_images_and_not_the_images(run: Run) -> None:
    document = json.loads((run.path / "report.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in document["confusion"]] == ["teacher_fp32", "student_fp32", "student_int8"]
    for row in (*document["confusion"], *document["reliability"]):
        counted = row["counts"] if "counts" in row else [[part["n"] for part in row["bins"]]]
        assert sum(map(sum, counted)) == 40
    shipped = next(row for row in document["models"] if row["shipped"])
    right = sum(document["confusion"][-1]["counts"][label][label] for label in range(2))
    assert right / 40 == pytest.approx(shipped["test"]["top1"])
    assert document["cases"]["num_mistakes"] == 40 - right
    assert list(document["learning_curves"]) == ["teacher", "student_alone", "distill", "prune"]
    assert all(row["thumbnail"] is None for name in ("mistakes", "changed") for row in document["cases"][name])
    assert "<img" not in (run.path / "report.html").read_text(encoding="utf-8")
    with np.load(run.path / "scores.npz", allow_pickle=False) as scores:
        decided = scores["student_int8__test"].argmax(axis=1)
        assert int((decided == scores["labels__test"]).sum()) == right


def test_run_folder_holds_what_the_contract_names(run: Run) -> None:
    names = {path.name for path in run.path.iterdir()}
    assert {"recipe.toml", "report.html", "report.md", "report.json", "models", "bundle", "log.jsonl"} <= names
    assert {"scores.npz", "disagreements.csv"} <= names
    assert run.report is not None
    assert run.report["scores"]["sha256"] == sha256_file(run.path / "scores.npz")
    assert not [name for name in names if name.startswith(".")]
    models = {path.stem for path in (run.path / "models").iterdir()}
    assert models == {
        "teacher_fp32",
        "student_alone_fp32",
        "distilled_fp32",
        "distilled_int8",
        "student_fp32",
        "student_fp16",
        "student_dynamic",
        "student_int8",
        "student_int8_io",
    }


def test_a_build_for_a_microcontroller(npz: Path, cache_dir: Path, run: Run, tmp_path: Path) -> None:
    """Nothing is timed, the form that is meant for it is shipped and has run there, and no other chain can be made."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed (extra micro)")
    own = tmp_path / "tiny.toml"
    text = (Path(edgekd.__file__).parent / "targets" / "microcontroller.toml").read_text()
    own.write_text(text.replace("max_arena_bytes = 196_608", "max_arena_bytes = 10_000"))
    out = tmp_path / "run"
    done = _build(npz, cache_dir, out, expect=1, **{"benchmark.target": str(own), "prune.channel_multiple": 1024})
    report = json.loads((out / "report.json").read_text())
    found = report["target"]
    assert (found["name"], found["figures"], found["model"]) == ("tiny", "checked", "student_int8_io")
    assert (found["micro"]["num_images"], found["micro"]["num_different"]) == (40, 0)
    rows = {row["id"]: row for row in found["limits"]}
    assert {id for id, row in rows.items() if not row["held"]} == {"max_arena_bytes"}
    assert rows["max_arena_bytes"]["measured"] == found["micro"]["arena_bytes"] > 16 * 16 * 48
    (reason,) = found["reasons"]
    assert "10,000 bytes (9.8 KiB) are there (max_arena_bytes)" in reason
    assert f"target tiny: {reason}" in report["warnings"]
    assert "target max_arena_bytes: FELL SHORT" in done.stdout
    assert {stage["name"]: stage["cached"] for stage in report["stages"]}["distill"]
    (shipped,) = (model for model in report["models"] if model["shipped"])
    assert (shipped["id"], shipped["input_type"], shipped["output_type"]) == ("student_int8_io", "int8", "int8")
    assert (out / "bundle" / "model.tflite").read_bytes() == (out / shipped["file"]).read_bytes()
    reasons = {row["model"]: row["reason"] for row in report["candidates"] if "candidate" not in row}
    assert reasons["student_int8"] == "float output: the target takes integers alone"
    assert [row["candidate"] for row in report["candidates"] if "candidate" in row] == ["macs_75", "macs_50", "macs_25"]
    assert (
        "target: as_written is shipped (nothing changed); it is the nearest to a target that is NOT KEPT" in done.stdout
    )
    assert all(model["latency"] == [] for model in report["models"])
    (untimed,) = (text for text in report["not_measured"] if text.startswith('latency on target "tiny"'))
    assert "time it on the board" in untimed
    for name in ("report.md", "report.html"):
        written = (out / name).read_text()
        assert "10,000 bytes (9.8 KiB)" in written
        assert "time it on the board" in written


def test_a_build_for_two_targets_trains_once_and_compares(npz: Path, cache_dir: Path, run: Run, tmp_path: Path) -> None:
    """A profile without limits takes the chain as written; one with too few bytes the first that is small enough."""
    (shipped,) = (model for model in run.report["models"] if model["shipped"])
    (tmp_path / "badge.toml").write_text(
        f'description = "a badge"\n[limits]\nmax_tflite_bytes = {shipped["tflite_bytes"] - 1}\n'
    )
    out = tmp_path / "both"
    command = [*_command(npz, cache_dir, out), "--target", "host", "--target", str(tmp_path / "badge.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    reports = {name: json.loads((out / name / "report.json").read_text()) for name in ("host", "badge")}
    assert all(stage["cached"] for stage in reports["host"]["stages"] if stage["name"] in ("teacher", "prune"))
    assert all(stage["cached"] for stage in reports["badge"]["stages"] if stage["name"] in ("teacher", "distill"))
    host, badge = json.loads((out / "targets.json").read_text())["targets"]
    assert (host["verdict"], host["run"]["tflite_bytes"]) == ("fits", shipped["tflite_bytes"])
    assert (host["run"]["candidate"], host["run"]["accuracy"]) == (None, shipped["test"]["top1"])
    assert (badge["verdict"], badge["run"]["candidate"], badge["run"]["num_tried"]) == ("fits", "macs_75", 2)
    assert (out / "badge" / "bundle" / "model.tflite").stat().st_size == badge["run"]["tflite_bytes"]
    assert badge["run"]["tflite_bytes"] < shipped["tflite_bytes"]
    assert reports["badge"]["budget"]["limits"] == []
    assert "The choice of the chain, on val" in (out / "badge" / "report.html").read_text()


def test_the_waterfall_is_of_models_of_this_run(run: Run) -> None:
    steps = run.report["attribution"]
    assert [(step["step"], step["model"]) for step in steps] == [
        ("teacher", "teacher_fp32"),
        ("student alone", "student_alone_fp32"),
        ("distilled", "distilled_fp32"),
        ("pruned", "student_fp32"),
        ("INT8", "student_int8"),
    ]
    models = {model["id"]: model for model in run.report["models"]}
    for before, step in zip([None, *steps], steps, strict=False):
        model = models[step["model"]]
        content = (run.path / model["file"]).read_bytes()
        assert step["tflite_bytes"] == len(content)
        assert step["gzip_bytes"] == len(gzip.compress(content, 9, mtime=0))
        assert (step["accuracy"], step["auc"]) == (model["test"]["top1"], model["test"]["auc"])
        assert step["p50_ms"] == model["latency"][0]["p50_ms"]
        if before:
            assert step["change"]["before"] == before["model"]
            assert step["change"]["accuracy"] == pytest.approx(step["accuracy"] - before["accuracy"])
            assert step["change"]["p50_ratio"] > 0
    # Zeros change no byte but those that tell the two names apart.
    assert abs(models["student_int8"]["tflite_bytes"] - models["distilled_int8"]["tflite_bytes"]) < 1000


def test_shipped_file_is_the_measured_file(run: Run) -> None:
    shipped = [model for model in run.report["models"] if model["shipped"]]
    assert [model["id"] for model in shipped] == ["student_int8"]
    path = run.path / shipped[0]["file"]
    assert sha256_file(path) == shipped[0]["sha256"]
    assert path.read_bytes() == (run.path / "bundle" / "model.tflite").read_bytes()
    assert path.stat().st_size == shipped[0]["tflite_bytes"]


def test_easy_images_are_learned(run: Run) -> None:
    top1 = {model["id"]: model["test"]["top1"] for model in run.report["models"]}
    assert top1["teacher_fp32"] >= 0.9


def test_pruned_zeros_are_in_the_shipped_file(run: Run) -> None:
    sparsity = {model["id"]: model["measured_sparsity"] for model in run.report["models"]}
    assert sparsity["student_int8"] >= 0.45
    assert sparsity["student_alone_fp32"] < 0.05


def test_sizes_and_zeros_in_the_report_are_those_of_the_files(run: Run) -> None:
    """Zeros are counted in the tensors that the interpreter loads, not in our view of the file."""
    for model in run.report["models"]:
        content = (run.path / model["file"]).read_bytes()
        assert model["tflite_bytes"] == len(content)
        assert model["gzip_bytes"] == len(gzip.compress(content, 9, mtime=0))
        interpreter = open_interpreter(content, "reference")
        shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
        constants = [index for index in _constants(interpreter) if len(shapes[index]) in (2, 4)]
        kernels = [interpreter.get_tensor(index) for index in constants]
        zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels) / sum(kernel.size for kernel in kernels)
        assert model["measured_sparsity"] == pytest.approx(zeros, abs=1e-3), model["id"]


def _constants(interpreter: Any) -> set[int]:
    """Tensors that an operator reads, and that neither an operator writes nor anyone feeds."""
    computed = {detail["index"] for detail in interpreter.get_input_details()}
    computed |= {int(index) for step in interpreter._get_ops_details() for index in step["outputs"]}
    return {int(index) for step in interpreter._get_ops_details() for index in step["inputs"] if index >= 0} - computed


def test_what_pruning_bought_is_told(run: Run) -> None:
    gain = run.report["pruning_gain"]
    sizes = {model["id"]: (model["tflite_bytes"], model["gzip_bytes"]) for model in run.report["models"]}
    shipped, before = sizes["student_int8"], sizes["distilled_int8"]
    assert (gain["tflite_bytes"], gain["gzip_bytes"]) == (shipped[0] / before[0], shipped[1] / before[1])
    assert gain["gzip_bytes"] < 0.9
    assert "Pruning bought gzip bytes, and nothing in raw bytes and latency." in gain["text"]
    assert {"model": "student_int8", "baseline": "distilled_int8"}.items() <= gain["latency"].items()
    assert run.report["weight_pruning"]["encoding"]["dense"] == dict(
        zip(("tflite_bytes", "gzip_bytes"), shipped, strict=True)
    )
    assert "student_int8_sparse" in {row["model"] for row in run.report["candidates"]}


def test_every_timing_has_its_figures(run: Run) -> None:
    for model in run.report["models"]:
        assert model["latency"][0]["p50_ms"] > 0
        assert model["peak_rss_bytes"] > 0


def test_second_run_is_cached_and_ends_with_the_same_bytes(
    run: Run, npz: Path, cache_dir: Path, tmp_path: Path
) -> None:
    _build(npz, cache_dir, tmp_path / "again")
    stages = {stage["name"]: stage for stage in json.loads((tmp_path / "again" / "report.json").read_text())["stages"]}
    assert [name for name, stage in stages.items() if not stage["cached"]] == ["benchmark", "bundle"]
    for path in (run.path / "models").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "models" / path.name).read_bytes()


def test_run_folder_can_be_used_again(run: Run, npz: Path, cache_dir: Path) -> None:
    done = _build(npz, cache_dir, run.path, **{"benchmark.num_runs": 12})
    assert "report:" in done.stdout
    assert json.loads((run.path / "report.json").read_text())["models"][0]["latency"][0]["num_runs"] >= 12


def test_gate_that_falls_short_ends_with_1_and_keeps_everything(
    npz: Path, cache_dir: Path, tmp_path: Path, run: Run
) -> None:
    done = _build(npz, cache_dir, tmp_path / "small", expect=1, **{"gates.max_tflite_bytes": 1000})
    assert "FELL SHORT" in done.stdout
    assert (tmp_path / "small" / "bundle" / "model.tflite").is_file()
    assert (tmp_path / "small" / "report.html").is_file()


def test_until_stops_after_the_stage(npz: Path, cache_dir: Path, tmp_path: Path, run: Run) -> None:
    command = [*_command(npz, cache_dir, tmp_path / "part"), "--until", "quantize"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "stopped after quantize" in done.stdout
    assert "student_int8.tflite" in done.stdout
    assert (tmp_path / "part" / "models" / "student_int8.tflite").is_file()
    assert not (tmp_path / "part" / "report.json").exists()


def test_a_budget_is_kept_by_fewer_channels_where_the_recipe_is_too_large(
    npz: Path, cache_dir: Path, tmp_path: Path, run: Run
) -> None:
    (shipped,) = (model for model in run.report["models"] if model["shipped"])
    limit = shipped["tflite_bytes"] - 1
    out = tmp_path / "kept"
    done = _build(npz, cache_dir, out, **{"budget.max_tflite_bytes": limit, "budget.min_recall.class_0": 0.0})
    assert f"tried as_written: max_tflite_bytes: {limit + 1:,} against {limit:,}" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert (report["budget"]["candidate"], report["budget"]["place"]) == ("macs_75", 1)
    assert report["budget"]["changes"] == {"prune.method": "channel", "prune.keep_macs": 0.75}
    (tried,) = (row for row in report["candidates"] if "candidate" in row)
    assert (tried["candidate"], tried["changes"]) == ("as_written", {})
    assert tried["measured"]["tflite_bytes"] == shipped["tflite_bytes"]
    assert tried["measured"]["gzip_bytes"] == shipped["gzip_bytes"]
    assert tried["measured"]["accuracy"] == shipped["val"]["top1"]
    size = (out / "bundle" / "model.tflite").stat().st_size
    assert size < limit
    assert (report["budget"]["measured"]["tflite_bytes"], report["budget"]["limits"][0]["measured"]) == (size, size)
    assert report["recipe"]["prune"]["method"] == "channel"


def test_a_budget_that_cannot_be_kept_ends_with_1_and_keeps_the_nearest(
    npz: Path, cache_dir: Path, tmp_path: Path, run: Run
) -> None:
    """No layer has 1,024 channels, so that none can go: only the recipe as written can be made."""
    changes = {"budget.max_tflite_bytes": 1000, "prune.channel_multiple": 1024}
    done = _build(npz, cache_dir, tmp_path / "out", expect=1, **changes)
    assert (
        "budget: as_written is shipped (nothing changed); it is the nearest to a budget that is NOT KEPT" in done.stdout
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["budget"]["candidate"] == "as_written"
    assert [row["held"] for row in report["budget"]["limits"]] == [False]
    tried = [row for row in report["candidates"] if "candidate" in row]
    assert [row["candidate"] for row in tried] == ["macs_75", "macs_50", "macs_25"]
    assert all(row["measured"] is None and "channel_multiple" in row["reason"] for row in tried)
    assert (tmp_path / "out" / "bundle" / "model.tflite").is_file()
    assert "the budget is not kept" in (tmp_path / "out" / "report.md").read_text().splitlines()[0]


def test_a_budget_on_a_class_that_is_not_there_is_refused_before_training(npz: Path, tmp_path: Path, run: Run) -> None:
    done = _build(npz, tmp_path / "cache", tmp_path / "out", expect=2, **{"budget.min_recall.clas_1": 0.5})
    assert 'budget.min_recall."clas_1": no such class; did you mean "class_1"?' in done.stderr
    assert [path.parts[-1] for path in (tmp_path / "cache").rglob("facts.json")] == ["facts.json"]  # the data alone


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_build_ends_with_the_same_bytes(run: Run, npz: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of each training stage; the last start finishes and gives what an unbroken run gives."""
    cache, out = tmp_path / "cache", tmp_path / "out"
    for stage in ("teacher", "distill", "prune"):
        process = subprocess.Popen(
            _command(npz, cache, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
        )
        try:
            _wait_for_checkpoint_of(stage, cache, out, process)
        finally:
            process.kill()
            process.wait()
    _build(npz, cache, out)
    for path in (run.path / "models").iterdir():
        assert path.read_bytes() == (out / "models" / path.name).read_bytes(), path.name


def _wait_for_checkpoint_of(stage: str, cache: Path, out: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = out / "log.jsonl"
        started = log.exists() and f'"stage": "{stage}"' in log.read_text()
        if started and list((cache / "work").glob("*/**/checkpoint.npz")):
            return
        assert process.poll() is None, f"the build ended before stage {stage} wrote a checkpoint"
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of {stage} in two minutes")


def test_public_names_are_there() -> None:
    for name in edgekd.__all__:
        assert getattr(edgekd, name) is not None


def test_layers_kept_in_float_are_what_is_shipped(npz: Path, cache_dir: Path, tmp_path: Path, run: Run) -> None:
    changes = {"quantize.float_layers": ["logits"], "quantize.calibration": "percentile"}
    done = _build(npz, cache_dir, tmp_path / "mixed", **changes)
    assert "Mixed precision: logits in float" in done.stderr
    report = json.loads((tmp_path / "mixed" / "report.json").read_text())
    shipped = next(model for model in report["models"] if model["shipped"])
    assert (shipped["id"], shipped["dtype"], shipped["steps"][-2:]) == ("student_mixed", "mixed", ["ptq", "mixed"])
    assert (shipped["input_type"], shipped["output_type"]) == ("uint8", "float32")
    assert [model["shipped"] for model in report["models"] if model["id"] == "student_int8"] == [False]
    assert (report["quantization"]["mixed"]["layers"], report["quantization"]["calibration"]) == (
        ["logits"],
        "percentile",
    )
    bundle = tmp_path / "mixed" / "bundle"
    assert (bundle / "model.tflite").read_bytes() == (tmp_path / "mixed" / shipped["file"]).read_bytes()
    manifest = json.loads((bundle / "edgekd_manifest.json").read_text())
    assert manifest["figures"]["tflite_bytes"] == shipped["tflite_bytes"]
    assert next(claim["text"] for claim in report["claims"]).startswith("student_mixed loses")
    assert report["quantization"]["mixed"]["text"] in (tmp_path / "mixed" / "report.md").read_text()
    checked = subprocess.run(
        [sys.executable, "-m", "edgekd", "bundle", str(tmp_path / "mixed")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_layer_that_is_not_there_is_told_before_training(npz: Path, tmp_path: Path) -> None:
    done = _build(npz, tmp_path / "cache", tmp_path / "out", expect=2, **{"quantize.float_layers": ["logit"]})
    assert 'quantize.float_layers: the model has no layer "logit"; did you mean "logits"?' in done.stderr
    assert not list((tmp_path / "cache").glob("??/*"))


def test_layer_errors_of_a_run(cache_dir: Path, run: Run) -> None:
    command = [sys.executable, "-m", "edgekd", "layer-errors", str(run.path), "--cache-dir", str(cache_dir)]
    done = subprocess.run([*command, "--images", "8", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["num_images"], document["split"]) == (8, "val")
    assert "logits" in {row["layer"] for row in document["layers"]}
    figures = [row["logits_snr_db"] for row in document["layers"] if row["logits_snr_db"] is not None]
    assert figures == sorted(figures)
    done = subprocess.run([*command, "--images", "4", "--top", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(document['layers']) - 3} more with less error" in done.stdout


def test_layer_errors_of_what_is_no_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekd", "layer-errors", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no run folder (it has no recipe.toml); give the --out folder of edgekd build" in done.stderr
