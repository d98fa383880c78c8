"""``edgekd verify``: the demo's bundle, which is a real one, a run around it, and everything that can break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flatbuffer_models import mutations

import edgekd
from edgekd import cli, recipe
from edgekd.artifact import sha256_file, write_json
from edgekd.manifest import MANIFEST_FILE
from edgekd.options import to_table
from edgekd.recheck import Check, recheck
from edgekd.recheck.check import differences, gate_faults
from edgekd.recheck.figures import available
from edgekd.tflite.describe import describe

DEMO = Path(__file__).resolve().parents[1] / "android_demo" / "app" / "src" / "main" / "assets" / "edgekd"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the demo's bundle, for the test to break."""
    return Path(shutil.copytree(DEMO, tmp_path / "bundle"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose one model is the demo's: what a build leaves, with a report that is true."""
    folder = tmp_path / "run"
    shutil.copytree(DEMO, folder / "bundle")
    (folder / "models").mkdir()
    shutil.copyfile(DEMO / "model.tflite", folder / "models" / "student_int8.tflite")
    manifest = json.loads((DEMO / MANIFEST_FILE).read_text())
    resolved = recipe.load("pneumoniamnist", {"data.path": "absent/pneumoniamnist.npz"})
    (folder / "recipe.toml").write_text(recipe.to_toml(resolved))
    (folder / "log.jsonl").write_text('{"event": "run"}\n')
    facts = describe(
        folder / "models" / "student_int8.tflite",
        id="student_int8", role="student", steps=["distilled", "pruned", "ptq"], shipped=True,
    )  # fmt: skip
    figures = {name: value for name, value in manifest["figures"].items() if name not in ("dataset", "split", "val")}
    figures.pop("tflite_bytes")
    document = {
        **{"schema_version": 1, "edgekd_version": edgekd.__version__, "versions": {}, "commit": None, "host": {}},
        **{"recipe": to_table(resolved), "seed": 0, "candidates": [], "stages": []},
        "dataset": {
            **{
                "name": "pneumoniamnist",
                "licence": "CC BY 4.0",
                "task": "binary",
                "sha256": manifest["data"]["sha256"],
            },
            **{"class_names": manifest["labels"], "num_classes": 2, "warnings": []},
            **{"num_train": 4708, "num_calibration": 512, "num_val": 524, "num_test": 624},
        },
        "models": [
            {
                **facts,
                **{"file": "models/student_int8.tflite", "val": manifest["figures"]["val"], "test": figures},
                **{"latency": [], "peak_rss_bytes": None},
            }
        ],
        "claims": [
            {"id": "accuracy_vs_student_fp32", "text": "", "verdict": "shown", "estimate": 0.0, "ci95": [-0.01, 0.01]}
            | {"margin": 0.02, "n": 624}
        ],
        "gates": manifest["gates"],
    }
    write_json(folder / "report.json", document)
    return folder


def edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    write_json(path, document)


def broken(checks: list[Check]) -> list[str]:
    return [f"{check.about}: {check.text}" for check in checks if check.held is False]


def skipped(checks: list[Check]) -> set[str]:
    return {check.about for check in checks if check.held is None}


def sign_anew(folder: Path) -> None:
    """Write the digests as they are now into the manifest, as a forger would."""

    def change(manifest: Any) -> None:
        for row in manifest["files"]:
            path = folder / row["path"]
            row.update(sha256=sha256_file(path), bytes=path.stat().st_size)

    edit(folder / MANIFEST_FILE, change)


def verify(*words: object) -> Any:
    return CliRunner().invoke(cli.main, ["verify", *map(str, words)])


# What holds


def test_the_demo_s_bundle_holds() -> None:
    checks = recheck(DEMO)
    assert broken(checks) == []
    assert skipped(checks) == {"figures"}
    assert {"manifest", "files", "labels", "gates", "tensors", "metadata", "size", "goldens"} <= {
        check.about for check in checks
    }
    goldens = next(check for check in checks if check.about == "goldens")
    assert "xnnpack, builtin, reference" in goldens.text


def test_its_figures_come_out_of_the_data(shared_data: Path) -> None:
    """They were measured when the bundle was built; here they are computed anew."""
    done = verify(DEMO, "--data", shared_data / "pneumoniamnist.npz")
    assert done.exit_code == 0, done.stdout
    assert "computed anew: top-1 0.9561 on val (n = 524), top-1 0.8750 on test (n = 624)" in done.stdout
    assert done.stdout.endswith("0 broken, 9 held, 0 not checked\n")


def test_a_run_holds(run: Path) -> None:
    done = verify(run, "--json")
    assert done.exit_code == 0, done.stdout
    rows = json.loads(done.stdout)
    assert [row for row in rows if row["held"] is False] == []
    unchecked, scores = [row for row in rows if row["held"] is None][::-1]
    assert scores["text"] == "the run is from before raw scores were kept beside the report"
    assert unchecked["about"] == "figures"
    assert unchecked["text"] == '"absent/pneumoniamnist.npz" is not there; name the data with --data'


def test_figures_of_a_run_are_computed_anew(run: Path, shared_data: Path) -> None:
    data = str(shared_data / "pneumoniamnist.npz")
    checks = recheck(run, data)
    assert broken(checks) == []
    assert skipped(checks) == {"scores", "claims on test"}  # the model in floats is not in this run

    def lie(document: Any) -> None:
        document["models"][0]["test"]["top1"] += 0.01
        document["models"][0]["val"]["per_class"][1]["recall"] = 0.5

    edit(run / "report.json", lie)
    found = [text for text in broken(recheck(run, data)) if text.startswith("figures of student_int8")]
    assert len(found) == 2
    assert any("test.top1 is 0.875, 0.885 is stated" in text for text in found)
    assert any("val.per_class[1].recall is 0.96401" in text for text in found)


def test_other_data_are_not_taken_for_the_run_s(shared_data: Path) -> None:
    checks = recheck(DEMO, str(shared_data / "breastmnist.npz"))
    assert broken(checks) == []
    assert skipped(checks) == {"figures"}


# What breaks


def test_three_hundred_damaged_models_are_refused_by_their_digest(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them reaches the reader or the interpreter."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model was opened")

    for place in ("edgekd.recheck.bundle.open_view", "edgekd.apart.ask", "edgekd.runtime.open_interpreter"):
        monkeypatch.setattr(place, never)
    model = bundle / "model.tflite"
    for damaged in mutations(model.read_bytes(), 300, seed=0):
        model.write_bytes(damaged)
        checks = recheck(bundle)
        assert broken(checks) == ["files: model.tflite is not the file that was bundled (SHA-256); copy it again"]
        assert {"tensors", "metadata", "goldens"} <= skipped(checks)


def test_the_command_names_the_digest_and_ends_with_1(bundle: Path) -> None:
    model = bundle / "model.tflite"
    model.write_bytes(next(iter(mutations(model.read_bytes(), 1, seed=0))))
    done = verify(bundle)
    assert done.exit_code == 1
    assert "BROKEN       files: model.tflite is not the file that was bundled (SHA-256)" in done.stdout


def test_a_damaged_model_with_a_forged_digest_stays_in_the_child(bundle: Path) -> None:
    model = bundle / "model.tflite"
    content = model.read_bytes()
    for damaged in mutations(content, 4, seed=3):
        model.write_bytes(damaged)
        sign_anew(bundle)
        checks = recheck(bundle)
        assert "files" not in {check.about for check in checks if check.held is False}
        assert {check.held for check in checks if check.about in ("tensors", "goldens")} <= {True, False}


def test_every_broken_promise_is_listed(bundle: Path) -> None:
    (bundle / "labels.txt").write_text("pneumonia\nnormal\n")
    (bundle / "golden" / "input_00.bin").unlink()
    (bundle / "note.txt").write_text("hello")

    def lie(manifest: Any) -> None:
        manifest["gates"][0]["limit"] = 1000
        manifest["figures"]["tflite_bytes"] = 1
        manifest["input"]["shape"] = [1, 32, 32, 3]

    edit(bundle / MANIFEST_FILE, lie)
    found = broken(recheck(bundle))
    for start in (
        "files: golden/input_00.bin is missing",
        "files: note.txt is not named by the manifest",
        "files: labels.txt is not the file that was bundled",
        "gates: gate max_tflite_bytes is said to have held: 620518 against 1000",
        "size: model.tflite has 620,518 bytes, figures.tflite_bytes says 1",
    ):
        assert any(text.startswith(start) for text in found), start
    assert len(found) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda manifest: manifest["labels"].reverse(), "labels: labels.txt and the manifest name other classes"),
        (lambda manifest: manifest["labels"].reverse(), "metadata: the labels inside model.tflite are not those"),
        (lambda manifest: manifest.update(input=[]), "manifest: "),
        (lambda manifest: manifest.pop("gates"), "manifest: edgekd_manifest.json: "),
        (lambda manifest: manifest.update(schema_version=99), "manifest: "),
    ],
)
def test_a_manifest_that_lies(change: Callable[[Any], object], told: str, bundle: Path) -> None:
    edit(bundle / MANIFEST_FILE, change)
    assert any(text.startswith(told) for text in broken(recheck(bundle)))


def test_a_model_that_answers_otherwise_fails_its_goldens(bundle: Path) -> None:
    def lie(golden: Any) -> None:
        golden["vectors"][2]["low"] = [0.0, 0.0]
        golden["vectors"][2]["high"] = [0.001, 0.001]

    edit(bundle / "golden" / "golden.json", lie)
    sign_anew(bundle)
    found = broken(recheck(bundle))
    assert [text.split(" kernels")[0] for text in found] == [
        f"goldens: {name}" for name in ("xnnpack", "builtin", "reference")
    ]
    assert all("golden/input_02.bin: the answer is outside" in text for text in found)


def of_model(**changes: Any) -> Callable[[Any], object]:
    return lambda document: document["models"][0].update(changes)


def of_claim(**changes: Any) -> Callable[[Any], object]:
    return lambda document: document["claims"][0].update(changes)


def of_gate(**changes: Any) -> Callable[[Any], object]:
    return lambda document: document["gates"][2].update(changes)


FILE = "models/student_int8.tflite"
REPORT_LIES: list[tuple[Callable[[Any], object], str]] = [
    (of_model(sha256="0" * 64), f"model student_int8: {FILE} is not the file that was measured (SHA-256)"),
    (of_model(sha256="0" * 64), "bundle: model.tflite of the bundle is not the model that report.json measured"),
    (of_model(file="models/other.tflite"), "model student_int8: models/other.tflite is missing"),
    (of_model(file="../../etc/passwd"), "model student_int8: ../../etc/passwd is missing"),
    (of_model(tflite_bytes=5), f"model student_int8: {FILE}: tflite_bytes is 620518, 5 is stated"),
    (of_model(tflite_bytes=5), "gates: gate max_tflite_bytes is 5, 620518 is stated"),
    (of_model(macs=5), f"model student_int8: {FILE}: macs is 1186352, 5 is stated"),
    (of_model(dtype="fp32"), f"model student_int8: {FILE}: dtype is int8, fp32 is stated"),
    (of_model(gzip_bytes=5), f"model student_int8: {FILE}: gzip_bytes is "),
    (of_model(shipped=False), "bundle: report.json names 0 shipped models"),
    (lambda d: d["models"][0]["test"].update(top1=0.99), "bundle: the manifest and report.json differ: figures top1"),
    (lambda d: d["models"][0]["val"].update(auc=0.5), "gates: gate min_auc is 0.5, 0.993907 is stated"),
    (of_gate(held=False), "gates: gate min_auc is said to have fallen short: 0.993907 against 0.98"),
    (of_gate(limit=0.5), "gates: gate min_auc has the limit 0.5, the recipe says 0.98"),
    (lambda d: d["gates"].pop(), "gates: gate min_auc of the recipe is not in report.json"),
    (lambda d: d["recipe"].update(seed=1), "recipe: recipe.toml is not the recipe that report.json states"),
    (lambda d: d["recipe"].update(gates=5), "report: cannot be checked to the end"),
    (of_claim(ci95=[-0.03, 0.01]), "claims: claim accuracy_vs_student_fp32 is said to be shown; its interval says not"),
    (of_claim(id="size_vs_teacher_fp32", estimate=2.0), "claims: claim size_vs_teacher_fp32 says 2; the sizes give 0"),
    (lambda d: d.pop("models"), "report: report.json: "),
]


@pytest.mark.parametrize(("change", "told"), REPORT_LIES, ids=[told[:60] for _, told in REPORT_LIES])
def test_a_report_that_lies(
    change: Callable[[Any], object], told: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.apart.ask", lambda *_: {"failures": {}})  # the goldens have tests of their own
    edit(run / "report.json", change)
    found = broken(recheck(run))
    assert any(text.startswith(told) for text in found), found


def test_a_run_without_its_bundle_or_its_recipe(run: Path) -> None:
    shutil.rmtree(run / "bundle")
    (run / "recipe.toml").unlink()
    found = broken(recheck(run))
    assert [text.split(":")[0] for text in found] == ["bundle", "recipe"]


def test_a_model_that_was_changed_is_not_run(run: Path, shared_data: Path) -> None:
    (run / "models" / "student_int8.tflite").write_bytes(b"\0\0\0\0TFL3")
    checks = recheck(run, str(shared_data / "pneumoniamnist.npz"))
    assert len(broken(checks)) == 1
    assert "figures of student_int8" in skipped(checks)


# What is neither


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "neither an edgekd run nor a bundle"),
        (lambda folder: (folder.mkdir(), (folder / "log.jsonl").write_text('{"event": "run"}\n')), "has no bundle"),
    ],
)
def test_no_bundle_and_no_run_is_code_2(prepare: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    prepare(tmp_path / "folder")
    done = verify(tmp_path / "folder")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_that_stopped_before_its_report(run: Path) -> None:
    (run / "report.json").unlink()
    done = verify(run)
    assert done.exit_code == 2
    assert "has no report.json: it stopped before" in done.stderr


def test_data_that_is_not_there_is_code_2(run: Path) -> None:
    done = verify(run, "--data", "absent/folder")
    assert done.exit_code == 2
    assert '--data "absent/folder": no such file or folder' in done.stderr


# The parts


def test_differences_by_dotted_name() -> None:
    stated = {"a": 1.0, "b": [{"c": "x"}, {"c": True}], "only": 3}
    assert differences(stated, {"a": 1.0 + 1e-9, "b": [{"c": "x"}, {"c": True}], "more": 4}) == []
    found = differences(stated, {"a": 1.1, "b": [{"c": "y"}, {"c": False}]})
    assert found == ["a is 1.1, 1 is stated", "b[0].c is y, x is stated", "b[1].c is False, True is stated"]
    assert differences([1, 2], [1]) == [" is [1], [1, 2] is stated"]


@pytest.mark.parametrize(
    ("id", "measured", "held"),
    [("max_p50_ms", 2.0, True), ("max_p50_ms", 2.1, False), ("min_auc", 2.0, True), ("min_auc", 1.9, False)],
)
def test_gates_at_and_beside_their_limit(id: str, measured: float, held: bool) -> None:
    gate = {"id": id, "limit": 2.0, "measured": measured, "held": held}
    assert gate_faults([gate]) == []
    assert len(gate_faults([{**gate, "held": not held}])) == 1


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekd.config.data import Data

    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path))
    assert available(Data(name="pneumoniamnist")) == "pneumoniamnist is not in the cache; name it with --data"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pneumoniamnist.npz").touch()
    assert available(Data(name="pneumoniamnist")) is None
    assert available(Data(name="synthetic_cells")) is None
    assert available(Data(name="cifar100")) == "name cifar100 with --data"
    assert available(Data(path=str(tmp_path))) is None


def test_mutations_differ_from_the_model() -> None:
    content = np.random.default_rng(0).integers(0, 256, 9000, dtype=np.uint8).tobytes()
    made = list(mutations(content, 300, seed=1))
    assert len(set(made)) == 300
    assert content not in made
    assert made == list(mutations(content, 300, seed=1))
