"""The student on a server: the forms answer as it does, and a million images cost what the price says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import artifacts, colour_images, colour_model
from reports import document_by_hand

import edgekd
from edgekd import _keras, limits, onnx_export, preflight, recipe, target
from edgekd.artifact import Artifact, sha256_file
from edgekd.config.benchmark import Benchmark
from edgekd.config.bundle import Bundle
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.errors import MissingRequirementError, RecipeError
from edgekd.model_process import Opened, onnx_session
from edgekd.page import render
from edgekd.page.serving import HOW_TO_PRICE, in_words, rows
from edgekd.recheck.serving import serving_checks
from edgekd.runtime import file_faults
from edgekd.serving import child
from edgekd.serving.cost import fastest, per_million, priced
from edgekd.serving.report import entry
from edgekd.stages.bundle import bundle
from edgekd.stages.export import TOLERANCE, export
from edgekd.stages.report import check
from edgekd.stages.throughput import ask_process, throughput

FORMS = ("saved_model", "onnx", "onnx_int8")


# Cost


def test_cost_of_a_million_by_hand() -> None:
    """A thousand a second are 3.6 million an hour; at 3.60 an hour each million costs 1."""
    assert per_million(3.6, 1000) == pytest.approx(1.0)
    assert per_million(0.36, 50) == pytest.approx(2.0)


def test_the_interval_of_the_cost_turns_over() -> None:
    row = {"images_per_second": 1000.0, "ci95": [500.0, 2000.0]}
    found = priced(row, 3.6)
    assert (found["cost_per_million"], found["cost_ci95"]) == (pytest.approx(1.0), pytest.approx([0.5, 2.0]))
    assert priced({**row, "ci95": None}, 3.6)["cost_ci95"] is None
    assert priced(row, None) == {**row, "cost_per_million": None, "cost_ci95": None}


def test_of_equally_fast_batches_the_smallest() -> None:
    batches = [{"batch_size": size, "images_per_second": rate} for size, rate in ((1, 5.0), (4, 9.0), (8, 9.0))]
    assert fastest(batches)["batch_size"] == 4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"price_per_hour": 0.4}, r"price_per_hour = 0.4: of which currency\? Set benchmark.currency"),
        ({"currency": "EUR"}, r'currency = "EUR": of which price\? Set benchmark.price_per_hour too'),
        ({"price_per_hour": 0.0, "currency": "EUR"}, "benchmark.price_per_hour = 0.0: allowed: above 0"),
        ({"price_per_hour": "0,4", "currency": "EUR"}, "benchmark.price_per_hour = '0,4': a number is wanted"),
    ],
)
def test_wrong_prices_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe.load("quickstart", {f"benchmark.{name}": value for name, value in settings.items()})


# The profile


def test_cloud_exports_and_others_do_not() -> None:
    profile = target.load("cloud")
    assert (profile.exports, profile.batch_sizes) == (("saved_model", "onnx"), (1, 2, 4, 8, 16, 32, 64))
    assert target.load("host").exports == ()
    stages = {"export", "throughput"}
    assert stages <= preflight.skipped_stages(recipe.load("quickstart"))
    assert not stages & preflight.skipped_stages(recipe.load("quickstart", {"benchmark.target": "cloud"}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'exports = ["saved_modle"]',
            'exports = "saved_modle": allowed: saved_model, onnx; did you mean "saved_model"?',
        ),
        ('exports = ["onnx"]', "is made from the SavedModel; name saved_model too"),
        ('exports = ["saved_model"]\nfigures = "checked"', 'set figures = "measured"'),
        ('exports = ["saved_model"]\nbatch_sizes = []', "batch_sizes = []: name at least one"),
        ("batch_sizes = [0]", "batch_sizes = 0: allowed: at least 1"),
    ],
)
def test_what_is_wrong_in_a_profile(text: str, told: str, refusal_of: Callable[[str], str]) -> None:
    assert told in refusal_of(text)


def test_without_the_extra_it_is_said_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe.load("quickstart", {"benchmark.target": "cloud"})
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(MissingRequirementError) as caught:
        preflight.check_target(made)
    text = str(caught.value)
    assert text.startswith('benchmark.target = "cloud" needs onnxruntime; run pip install "edgekd[onnx]", or take a')
    assert 'exports = ["saved_model"]' in text


# The forms


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """As the quantize stage leaves it: the student in Keras, and its int8_io form."""
    pytest.importorskip("tf2onnx", reason='needs pip install "edgekd[onnx]"')
    pytest.importorskip("onnxruntime", reason='needs pip install "edgekd[onnx]"')
    folder = tmp_path_factory.mktemp("quantized")
    _keras.save_model(colour_model(), folder / "keras")
    before = artifacts()[0]
    for row in before.facts["models"]:
        shutil.copyfile(before.path / row["file"], folder / row["file"])
    return Artifact.seal(folder, before.facts)


@pytest.fixture(scope="module")
def exported(quantized: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("exported")
    return export(artifacts()[1], quantized, ["saved_model", "onnx"], folder, folder="keras")


def test_every_form_answers_as_the_student(exported: Artifact) -> None:
    assert [form["id"] for form in exported.facts["forms"]] == list(FORMS)
    assert exported.facts["num_images"] == 90
    assert {row["id"]: row["limit"] for row in exported.facts["limits"]} == {
        **{"max_saved_model_difference": TOLERANCE, "max_onnx_difference": TOLERANCE, "max_onnx_int8_units": 12}
    }
    assert all(row["held"] for row in exported.facts["limits"])
    assert exported.facts["warnings"] == []


def test_the_float_forms_are_the_softmax_of_the_student(exported: Artifact) -> None:
    """By NumPy, on pixels as a server gets them, a batch of any size."""
    images = colour_images(5, seed=77)
    logits = np.asarray(colour_model()(images.astype(np.float32), training=False), np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.ptp(wanted, axis=0).max() > 0.5, "a constant network proves nothing"
    session = onnx_session(str(exported.path / "model_fp32.onnx"))
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("pixels", "tensor(uint8)", [16, 16, 3])
    assert given.name == "probabilities"
    np.testing.assert_allclose(session.run(None, {"pixels": images})[0], wanted, atol=1e-5)
    loaded = _keras.tf.saved_model.load(str(exported.path / "saved_model"))
    found = loaded.signatures["serving_default"](pixels=_keras.tf.constant(images))
    assert list(found) == ["probabilities"]
    np.testing.assert_allclose(found["probabilities"].numpy(), wanted, atol=1e-5)


def test_a_form_that_answers_otherwise_falls_short(
    quantized: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekd.stages import export as stage

    save = stage.saved_model.save
    monkeypatch.setattr(stage.saved_model, "save", lambda model, head, folder: save(model, "sigmoid", folder))
    found = export(artifacts()[1], quantized, ["saved_model"], tmp_path, folder="keras").facts
    (row,) = found["limits"]
    assert not row["held"]
    assert found["warnings"][0].startswith("max_saved_model_difference: ")
    assert "on 90 test images, 0.0001 is allowed; do not serve" in found["warnings"][0]


def test_a_reshape_keeps_any_batch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "edgekd[onnx]"')
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array([1, 6], np.int64), "shape")
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)]
        for name, sides in (("x", [1, 2, 3]), ("y", [1, 6]))
    ]
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["y"])], "g", *ends, [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx_export.of_any_batch(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    five = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    found = onnx_session(str(tmp_path / "m.onnx")).run(None, {"x": five})[0]
    np.testing.assert_array_equal(found, five.reshape(5, 6))


# Time


def test_a_process_times_each_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    opened = Opened([([None, 1], "uint8")], [([None, 1], "float32")], seen.append)
    monkeypatch.setattr(child, "_open", lambda kind, path, num_threads: opened)
    np.save(tmp_path / "images.npy", np.array([[0], [1], [2]], np.uint8))
    request = {"kind": "onnx", "model": "m", "images": str(tmp_path / "images.npy"), "num_threads": 1}
    answer = child.time_batches({**request, "batch_sizes": [4, 1, 4], "warmup_runs": 1, "num_runs": 45})
    one, four = answer["batches"]
    assert [(row["batch_size"], row["num_runs"]) for row in (one, four)] == [(1, 45), (4, 12)]  # 45 / 4, rounded up
    assert all(
        row["warmup_runs"] >= 20 and row["seconds"] > 0 and row["peak_rss_bytes"] > 1 << 20 for row in (one, four)
    )
    assert len(seen) == sum(row["warmup_runs"] + row["num_runs"] for row in (one, four))
    np.testing.assert_array_equal(seen[0], [[0]])
    np.testing.assert_array_equal(seen[-1], [[0], [1], [2], [0]])  # round and round


def answer_of(milliseconds: float, sizes: list[int], *, steady: bool = True) -> dict[str, Any]:
    """A process that takes so long for each image, whatever the batch."""
    return {
        "init_ms": 10.0,
        "batches": [
            {
                **{"batch_size": size, "warmup_runs": 20, "steady": steady, "num_runs": 10},
                **{"seconds": size * 10 * milliseconds / 1000, "peak_rss_bytes": size * 2**20},
            }
            for size in sizes
        ],
    }


def measure(exported: Artifact, folder: Path, config: Benchmark, *, steady: bool = True) -> dict[str, Any]:
    """Seven processes a form, of 1 to 7 milliseconds an image; a tenth of it for those of ONNX."""
    count = dict.fromkeys((form["path"] for form in exported.facts["forms"]), 0)

    def ask(title: str, request: Any) -> dict[str, Any]:
        path = title.strip('"')
        count[path] += 1
        assert np.load(request["images"]).dtype == (np.int8 if path == "model_int8_io.onnx" else np.uint8)
        scale = 1.0 if request["kind"] == "saved_model" else 0.1
        return answer_of(scale * count[path], request["batch_sizes"], steady=steady)

    profile = dataclasses.replace(target.load("cloud"), batch_sizes=(1, 8))
    made = throughput(exported, colour_images(4, seed=3), config, profile, folder, ask=ask)
    assert set(count.values()) == {7}
    return dict(made.facts)


@pytest.fixture
def measured(exported: Artifact, tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "measured"
    folder.mkdir()
    return measure(exported, folder, Benchmark(num_processes=7, price_per_hour=3.6, currency="EUR"))


def test_images_per_second_by_hand(measured: dict[str, Any]) -> None:
    """The fourth of 1..7 ms is the median, which 4/7 do not exceed.

    That share is as sure as of six independent processes. Of these the binomial's interval goes from the first to the
    sixth, which are the second and the seventh of seven.
    """
    saved, onnx, _ = measured["forms"]
    assert [row["batch_size"] for row in saved["batches"]] == [1, 8]
    for row in saved["batches"]:
        assert row["images_per_second"] == pytest.approx(250.0)
        assert row["ci95"] == pytest.approx([1000 / 7, 500.0])
        assert (row["cost_per_million"], row["num_runs"]) == (pytest.approx(4.0), 70)
        assert row["peak_rss_bytes"] == row["batch_size"] * 2**20
    assert onnx["batches"][0]["images_per_second"] == pytest.approx(2500.0)
    assert (measured["target"], measured["num_threads"], measured["num_processes"]) == ("cloud", 4, 7)
    assert measured["warnings"] == []


def test_without_a_price_there_is_no_cost_and_what_was_not_steady_is_told(exported: Artifact, tmp_path: Path) -> None:
    found = measure(exported, tmp_path, Benchmark(num_processes=7), steady=False)
    assert {row["cost_per_million"] for form in found["forms"] for row in form["batches"]} == {None}
    assert found["warnings"][0] == "saved_model did not become steady in 14 of 14 series of batches"


@pytest.mark.parametrize("id", ["saved_model", "onnx_int8"])
def test_a_real_process_measures_a_real_form(id: str, exported: Artifact, tmp_path: Path) -> None:
    images = colour_images(4, seed=5)
    form = next(form for form in exported.facts["forms"] if form["id"] == id)
    np.save(tmp_path / "i.npy", images if id == "saved_model" else (images.astype(int) - 128).astype(np.int8))
    request = {"kind": id.partition("_int8")[0], "model": str(exported.path / form["path"]), "num_threads": 1}
    request |= {"images": str(tmp_path / "i.npy"), "batch_sizes": [1, 8], "warmup_runs": 1, "num_runs": 10}
    answer = ask_process(form["path"], request)
    assert [row["batch_size"] for row in answer["batches"]] == [1, 8]
    assert all(row["seconds"] > 0 for row in answer["batches"])


# Bundle, report and verify


@pytest.fixture
def run(exported: Artifact, measured: dict[str, Any], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A run folder with the forms in its bundle, and a report that has them."""
    quantized, images, verified = artifacts()
    folder = tmp_path / "run"
    (folder / "bundle").mkdir(parents=True)
    names: dict[str, Any] = {"recipe_name": "colours", "teacher": Teacher(), "student": Distill()}
    bundle(quantized, images, verified, Bundle(), folder / "bundle", **names, exported=exported)
    document = {**document_by_hand(), "serving": entry(exported.facts, measured)}
    return folder, document


def test_the_bundle_holds_the_forms_and_their_digests(run: tuple[Path, dict[str, Any]]) -> None:
    folder = run[0] / "bundle"
    manifest = json.loads((folder / "edgekd_manifest.json").read_text())
    assert list(manifest["cloud"]) == list(FORMS)
    served = manifest["cloud"]["saved_model"]
    assert (served["path"], served["signature"]) == ("cloud/saved_model", "serving_default")
    assert served["input"]["shape"] == [None, 16, 16, 3]
    assert served["output"] == {
        **{"name": "probabilities", "dtype": "float32", "shape": [None, 3], "meaning": "probabilities"}
    }
    digests = {row["path"]: row["sha256"] for row in manifest["files"]}
    for name in ("cloud/saved_model/saved_model.pb", "cloud/model_fp32.onnx", "cloud/model_int8_io.onnx"):
        assert digests[name] == sha256_file(folder / name)
    assert not (folder / "cloud" / "facts.json").exists()
    edgekd.load_bundle(folder)
    (folder / "cloud" / "model_fp32.onnx").write_bytes(b"something else")
    assert list(file_faults(folder, manifest)) == ["cloud/model_fp32.onnx"]


def test_verify_checks_the_forms_and_the_cost(run: tuple[Path, dict[str, Any]]) -> None:
    folder, document = run
    assert [check.held for check in serving_checks(folder, document)] == [True, True]
    document["serving"]["forms"][0]["batches"][0]["cost_per_million"] = 3.0
    shutil.rmtree(folder / "bundle" / "cloud" / "saved_model")
    found = [check.text for check in serving_checks(folder, document)]
    assert found[0].startswith("bundle/cloud/saved_model is missing")
    assert found[1] == "saved_model, 1 at a time: cost_per_million is 4, 3 is stated"
    assert list(serving_checks(folder, {**document, "serving": None})) == []


def test_a_form_that_falls_short_is_among_the_limits_of_the_report(run: tuple[Path, dict[str, Any]]) -> None:
    document = run[1]
    document["serving"]["limits"][1] |= {"measured": 0.5, "held": False}
    assert [row["id"] for row in limits.of_report(document) if not row["held"]][-1] == "max_onnx_difference"
    document["gates"] = []
    assert render(document, "report.md.j2").startswith("# pneumoniamnist: the target's limits are not kept\n")


def test_the_report_shows_rates_and_costs(run: tuple[Path, dict[str, Any]]) -> None:
    document = run[1]
    check(document)
    told = render(document, "report.md.j2")
    assert "| saved_model | 1 | 250 (143 to 500) | 4.00 | 1.0 MiB | 4.00 (2.00 to 7.00) |" in told
    assert in_words(document["serving"]) == (
        "Fastest: onnx, one at a time, 2,500 images a second: 0.40 EUR (0.20 to 0.70) for a million images, at 3.60 "
        "EUR an hour as the recipe states and with the machine never idle."
    )
    assert [row["best"] for row in rows(document["serving"])] == [True, False] * 3
    page = render(document, "report.html.j2")
    assert "cost of a million, EUR" in page
    assert "max_onnx_int8_units" in page


def test_without_a_price_the_page_says_how_to_state_one(exported: Artifact, tmp_path: Path) -> None:
    found = measure(exported, tmp_path, Benchmark(num_processes=7))
    document = {**document_by_hand(), "serving": entry(exported.facts, found)}
    check(document)
    assert in_words(document["serving"]).endswith(HOW_TO_PRICE)
    assert "--set benchmark.price_per_hour=0.40" in render(document, "report.html.j2")
