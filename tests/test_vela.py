"""Compiled for an Ethos-U55: what stays on the CPU, foretold and found, and estimates that are called Arm's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import artifacts
from click.testing import CliRunner, Result
from reports import document_by_hand

import edgekd
from edgekd import cli, preflight, recipe, target, vela
from edgekd.artifact import Artifact
from edgekd.config.bundle import Bundle
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.errors import MissingRequirementError, ModelError, RecipeError
from edgekd.page import render
from edgekd.recheck.npu import npu_checks
from edgekd.stages.bundle import bundle
from edgekd.stages.compile import compile_student
from edgekd.stages.report import check
from edgekd.target import Npu
from edgekd.tflite import cost
from edgekd.tflite.view import open_view

NPU = target.load("ethos-u55").npu
# ResNet-8 of MLPerf Tiny: a stem, two convolutions in each of three stacks, and a pointwise one in two shortcuts.
RESNET8 = {"ADD": 3, "AVERAGE_POOL_2D": 1, "CONV_2D": 9, "FULLY_CONNECTED": 1, "RESHAPE": 1, "SOFTMAX": 1}


@pytest.fixture(scope="module")
def installed() -> str:
    pytest.importorskip("ethosu", reason="Arm's Vela is not installed (extra npu)")
    return vela.require()


@pytest.fixture(scope="module")
def models(installed: str, shared_data: Path) -> Path:
    return shared_data / "thirdparty_models"


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


# Other people's models


def test_an_int8_model_goes_to_the_npu(models: Path, tmp_path: Path) -> None:
    """None of its 128 multipliers does more than one product a cycle."""
    products = cost.macs(open_view(models / "vww_96_int8.tflite"))
    assert products > 7_000_000
    found = vela.compile_for(NPU, models / "vww_96_int8.tflite", tmp_path / "out.tflite")
    assert (found["predicted"], found["confirmed"], found["agree"]) == ({}, {}, True)
    assert (found["num_operators"], found["num_streams"]) == (31, 1)
    arm = found["estimates"]
    assert products / 128 <= arm["cycles_npu"] <= arm["cycles_total"]
    # What lives at once in its first pointwise layer, 48 x 48 of 8 channels in and of 16 out; Vela may tile it.
    assert 48 * 48 * 16 < arm["sram_bytes"] < 2 * 48 * 48 * 24
    assert arm["flash_bytes"] < (models / "vww_96_int8.tflite").stat().st_size
    assert arm["clock_hz"] == 500_000_000  # Arm/vela.ini, Ethos_U55_High_End_Embedded
    assert "as the published table foretold" in vela.in_words(found)
    assert "They are no latency: nothing was run" in vela.estimates_in_words(found)


def test_a_float_model_stays_on_the_cpu(models: Path, tmp_path: Path) -> None:
    found = vela.compile_for(NPU, models / "pretrainedResnet.tflite", tmp_path / "out.tflite")
    assert found["predicted"] == found["confirmed"] == RESNET8
    assert found["num_streams"] == 0
    assert vela.estimates_in_words(found) == "Nothing of it runs on the NPU, and Arm estimates nothing"


def test_another_accelerator_needs_other_cycles(models: Path, tmp_path: Path) -> None:
    cycles = [
        vela.compile_for(Npu(accelerator=name), models / "pretrainedResnet_quant.tflite", tmp_path / "o.tflite")[
            "estimates"
        ]["cycles_npu"]
        for name in ("ethos-u55-32", "ethos-u55-256")
    ]
    assert cycles[0] > 2 * cycles[1]


def test_the_shipped_form_leaves_its_float_head_to_the_cpu(installed: str, tmp_path: Path) -> None:
    """``int8``: integers within, then DEQUANTIZE and the softmax in float32."""
    found = vela.compile_for(NPU, artifacts()[0].path / "student_int8.tflite", tmp_path / "out.tflite")
    assert found["confirmed"] == {"DEQUANTIZE": 1, "SOFTMAX": 1}
    assert found["agree"]
    assert "on the CPU stay DEQUANTIZE, SOFTMAX, as" in vela.in_words(found)
    assert "cycles an inference, without what stays on the CPU" in vela.estimates_in_words(found)


# Bad input


def test_damaged_models_are_errors(models: Path, tmp_path: Path) -> None:
    whole = (models / "vww_96_int8.tflite").read_bytes()
    path, out = tmp_path / "broken.tflite", tmp_path / "out.tflite"
    for content in (b"", b"no model at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"broken\.tflite"):
            vela.compile_for(NPU, path, out)
    with pytest.raises(ModelError, match=r"absent\.tflite"):
        vela.compile_for(NPU, tmp_path / "absent.tflite", out)
    assert not out.exists()


def test_what_takes_too_long_is_stopped(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'model "vww_96_int8.tflite" in Vela .* did not answer within 0.01 seconds'):
        vela.compile_for(NPU, models / "vww_96_int8.tflite", tmp_path / "out.tflite", seconds=0.01)


def test_without_vela_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingRequirementError, match=r"pip install \"edgekd\[npu\]\"\. edgekd inspect MODEL\.tflite"):
        vela.compile_for(NPU, tmp_path / "m.tflite", tmp_path / "out.tflite")


def test_it_is_asked_for_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe.load("quickstart", {"benchmark.target": "ethos-u55"})
    assert not {"fit", "compile"} & preflight.skipped_stages(made)
    monkeypatch.setattr(preflight.micro, "require", lambda: "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingRequirementError, match=r"edgekd\[npu\]"):
        preflight.check_target(made)
    other = recipe.load("quickstart", {"benchmark.target": "ethos-u55", "quantize.variants": ["fp32", "int8"]})
    with pytest.raises(RecipeError, match=r"runs the variant int8_io; add it to quantize\.variants"):
        preflight.check_target(other)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('accelerator = "ethos-u55-512"', 'npu.accelerator = "ethos-u55-512": allowed: '),
        ('acelerator = "ethos-u55-64"', 'unknown key "npu.acelerator"; did you mean "accelerator"?'),
        ('accelerator = "ethos-u55-64"\nmemory = "Dram"', 'npu.memory = "Dram": allowed: Shared_Sram, Sram_Only'),
        ('accelerator = "ethos-u55-64"', 'set runtime = "tflite_micro"'),
    ],
)
def test_what_is_wrong_in_a_profile(text: str, told: str, refusal_of: Callable[[str], str]) -> None:
    assert told in refusal_of(f"[npu]\n{text}")


# Arm's summary


def test_the_summary_by_hand() -> None:
    names = ["cycles_npu", "cycles_total", "sram_memory_used", "on_chip_flash_memory_used"]
    names += ["off_chip_flash_memory_used", "core_clock"]
    text = ",".join(names) + "\n1200,1500.0,72.5,1,2.25,500000000.0\n"
    assert vela.summary_of(text) == {
        **{"cycles_npu": 1200, "cycles_total": 1500, "sram_bytes": 74_240, "flash_bytes": 3328, "clock_hz": 500_000_000}
    }
    for broken in ("", text.replace("cycles_npu", "npu_cycles"), text.replace("72.5", "nan"), text + text[-40:]):
        with pytest.raises(ModelError, match="Vela's summary cannot be read"):
            vela.summary_of(broken)


# The command line


def test_check_names_what_was_compiled_and_calls_the_estimates_arms(models: Path) -> None:
    done = call("target", "check", "ethos-u55", models / "vww_96_int8.tflite")
    assert done.exit_code == 0, done.output
    assert "compiled  Vela " in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("estimate")]
    assert line.startswith("estimate  Arm's estimates for Ethos_U55_High_End_Embedded, Shared_Sram, at 500 MHz: ")
    assert " ms" not in done.stdout
    done = call("target", "check", "ethos-u55", models / "pretrainedResnet.tflite", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["npu"]["confirmed"] == RESNET8


def test_inspect_says_what_would_stay_on_the_cpu(shared_data: Path) -> None:
    done = call("inspect", shared_data / "thirdparty_models" / "pretrainedResnet.tflite", "--json")
    (row,) = [row for row in json.loads(done.stdout)["forecasts"] if row["client"] == "Ethos-U55"]
    assert (row["operators_taken"], row["num_operators"]) == (0, 16)
    assert row["objections"][0]["text"].startswith("CONV_2D x 9, AVERAGE_POOL_2D, SOFTMAX: float32; ")


# Stage, bundle, report, verify


@pytest.fixture(scope="module")
def compiled(installed: str, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compile_student(artifacts()[0], NPU, tmp_path_factory.mktemp("compiled"))


def test_the_student_goes_to_the_npu_whole(compiled: Artifact) -> None:
    """int8 in and out and nothing but integers between."""
    assert (compiled.facts["model"], compiled.facts["confirmed"], compiled.facts["agree"]) == (
        "student_int8_io",
        {},
        True,
    )
    assert compiled.facts["input"] == {**compiled.facts["input"], "dtype": "int8", "scale": 1.0, "zero_point": -128}


def test_bundle_report_and_verify_have_it(compiled: Artifact, tmp_path: Path) -> None:
    quantized, images, verified = artifacts()
    folder = tmp_path / "bundle"
    folder.mkdir()
    names: dict[str, Any] = {"recipe_name": "colours", "teacher": Teacher(), "student": Distill()}
    manifest = bundle(quantized, images, verified, Bundle(), folder, **names, compiled=compiled)
    assert (manifest["npu"]["path"], manifest["npu"]["accelerator"]) == ("npu/model_vela.tflite", "ethos-u55-128")
    assert compiled.facts["sha256"] in [row["sha256"] for row in manifest["files"] if row["path"].startswith("npu/")]
    edgekd.load_bundle(folder)

    facts = {**compiled.facts, "predicted": {"MEAN": 2}, "agree": False}
    document = {**document_by_hand(), "npu": facts}
    check(document)
    told = render(document, "report.md.j2")
    assert "; the published table foretold MEAN x 2. Arm's estimates for " in told
    page = render(document, "report.html.j2")
    assert '<tr><th scope="row">MEAN</th><td>2</td><td>0</td></tr>' in page
    assert "<h3>Arm's estimates</h3>" in page

    assert [found.held for found in npu_checks(tmp_path, document)] == [True]
    (found,) = npu_checks(tmp_path, {**document, "npu": {**facts, "confirmed": {"ADD": 1}}})
    assert (found.held, found.text) == (False, "on the CPU stay [], ['ADD'] are stated")
    (folder / "npu" / "model_vela.tflite").write_bytes(b"something else")
    (found,) = npu_checks(tmp_path, document)
    assert found.text == "bundle/npu/model_vela.tflite is not the model that was compiled (SHA-256); build it again"
    assert list(npu_checks(tmp_path, {**document, "npu": None})) == []
