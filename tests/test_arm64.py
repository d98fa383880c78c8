"""Real Arm kernels under emulation. Without qemu, without the user land or a way to fetch it, tests are skipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekd import cli
from edgekd._litert import open_interpreter, run
from edgekd.arm64 import compare, emulator, fetch, install
from edgekd.cache import default_root
from edgekd.errors import MissingRequirementError, UserError
from edgekd.recheck import OnTarget
from edgekd.recheck.on_target import _verdict
from edgekd.tflite.edit import cut_float_tail

DEMO = Path(__file__).resolve().parents[1] / "android_demo" / "app" / "src" / "main" / "assets" / "edgekd"


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's own cache, where the user land stays for the next time; it is laid there where it is not."""
    root = default_root()
    try:
        emulator.find()
        install.install(root)
        compare.require(root)
    except MissingRequirementError as error:
        if "qemu" in str(error) or fetch.UNSERVED in str(error) or "is not here" in str(error):
            pytest.skip(str(error))
        raise
    return root


def demo_inputs() -> np.ndarray:
    files = sorted((DEMO / "golden").glob("input_*.bin"))
    side = round((files[0].stat().st_size / 3) ** 0.5)
    return np.stack([np.fromfile(file, np.uint8).reshape(side, side, 3) for file in files])


def verify(*words: object) -> Result:
    return CliRunner().invoke(cli.main, ["verify", *(str(word) for word in words)])


# With the emulator


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bundle_answers_on_arm_as_here(cache: Path) -> None:
    done = verify(DEMO, "--target", "arm64-emulated", "--cache-dir", cache)
    assert done.exit_code == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "target arm64-emulated: model.tflite, " in line]
    count = len(demo_inputs())
    for kernel in ("xnnpack", "reference"):
        exact = [row for row in rows if f", {kernel} kernels (cortex-a76, qemu-aarch64" in row and "bit for bit" in row]
        assert len(exact) == 1
        assert f"on {count} golden inputs" in exact[0]
        assert exact[0].startswith("held")
    assert len(rows) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72"])
def test_other_processors_and_other_peoples_models(cpu: str, cache: Path, shared_data: Path) -> None:
    models = shared_data / "thirdparty_models"
    noise = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    found = compare.compare({"vww": models / "vww_96_int8.tflite"}, noise, install.installed(cache), cpu)
    assert [(row.kernel, row.integers, row.num_different) for row in found] == [
        *(("xnnpack", True, 0), ("reference", True, 0)),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_processor_is_an_arm_one(cache: Path) -> None:
    import subprocess

    script = "import platform, pathlib; print(platform.machine(), pathlib.Path('/proc/cpuinfo').read_text())"
    with emulator.python(install.installed(cache), "cortex-a72") as command:
        done = subprocess.run([*command, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("aarch64 ")
    assert "CPU part\t: 0xd08" in done.stdout


# Without


def test_the_integer_core_of_a_model_with_a_float_head() -> None:
    """Its integers, through the DEQUANTIZE and the softmax by the textbook, are the model's probabilities."""
    content = (DEMO / "model.tflite").read_bytes()
    core = cut_float_tail(content)
    interpreter = open_interpreter(core, "reference")
    images = demo_inputs()
    integers = run(interpreter, images)
    assert integers.dtype == np.int8
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    logits = scale * (integers.astype(np.float64) - zero_point)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(open_interpreter(content, "reference"), images), probs, atol=1e-6)
    assert cut_float_tail(core) == core


def test_what_is_no_integer_at_its_end_is_left_as_it_is(shared_data: Path) -> None:
    content = (shared_data / "thirdparty_models" / "vww_96_int8.tflite").read_bytes()
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    same = [run(open_interpreter(model, "reference"), image) for model in (content, cut_float_tail(content))]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("row", "held", "told"),
    [
        (compare.Compared("m", "xnnpack", True, 0, 0.0), True, "bit for bit"),
        (compare.Compared("m", "xnnpack", True, 3, 2.0), False, "other integers than on this machine on 3 of 8 images"),
        (compare.Compared("m", "xnnpack", False, 5, 9e-7), True, "at most 9e-07 on 8 images, 1e-06 is allowed"),
        (compare.Compared("m", "xnnpack", False, 5, 2e-6), False, "at most 2e-06 on 8 images, 1e-06 is allowed"),
    ],
)
def test_integers_are_equal_and_floats_nearly(row: compare.Compared, held: bool, told: str) -> None:
    found = _verdict("target", row, "8 images", "cortex-a76")
    assert found.held is held
    assert told in found.text


def test_differences_are_counted_by_image() -> None:
    here, there = np.array([[1, 2], [3, 4], [5, 6]], np.int8), np.array([[1, 2], [3, 7], [4, 5]], np.int8)
    assert compare._compared("m", "xnnpack", here, there) == compare.Compared("m", "xnnpack", True, 2, 3.0)
    extremes = np.array([[-128]], np.int8), np.array([[127]], np.int8)
    assert compare._compared("m", "xnnpack", *extremes).largest_difference == 255


def test_cpuinfo_names_the_part() -> None:
    """Part numbers of the technical reference manuals: A53 0xD03, A72 0xD08, A76 0xD0B; LiteRT reads the features."""
    for cpu, part in {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b"}.items():
        text = emulator.cpuinfo(cpu)
        assert f"CPU part\t: {part}\n" in text
        assert "CPU implementer\t: 0x41\n" in text
        assert ("asimddp" in text) == (cpu == "cortex-a76")
        assert text.endswith("\n\n")
    assert "max" not in emulator.CPUS


def test_without_qemu_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingRequirementError, match="apt-get install qemu-user"):
        emulator.find()
    done = verify(DEMO, "--target", "arm64-emulated")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert "qemu-aarch64 is not installed" in done.stderr


def test_without_the_user_land_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    done = verify(DEMO, "--target", "arm64-emulated", "--cache-dir", tmp_path)
    assert done.exit_code == 3
    assert "edgekd target install arm64-emulated lays it into the cache" in done.stderr


def test_two_versions_of_litert_are_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emulator, "find", lambda: "qemu-aarch64")
    monkeypatch.setattr(install, "installed", lambda _: tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.9.9")
    with pytest.raises(MissingRequirementError, match=r"is 2\.9\.9 here and 2\.\d\.\d in the user land"):
        compare.require(tmp_path)


def test_processors_are_those_of_the_emulated_target() -> None:
    assert OnTarget.named("arm64-emulated", 8, None, None).cpu == "cortex-a76"
    with pytest.raises(UserError, match='--cpu "cortex-a73" is not known; did you mean "cortex-a7'):
        OnTarget.named("arm64-emulated", 8, "cortex-a73", None)
    with pytest.raises(UserError, match=r"--cpu .max. is not known; known: cortex-a53"):
        OnTarget.named("arm64-emulated", 8, "max", None)
    with pytest.raises(UserError, match="target host has none to choose"):
        OnTarget.named("host", 8, "cortex-a53", None)


# Other targets


def test_a_bundle_against_the_limits_of_a_profile(tmp_path: Path) -> None:
    """The demo's model has 620,518 bytes."""
    own = tmp_path / "small.toml"
    own.write_text('description = "d"\n[limits]\nmax_tflite_bytes = 600_000\ntypes = ["int8"]\n')
    done = verify(DEMO, "--target", own, "--json")
    assert done.exit_code == 1
    broken = [row for row in json.loads(done.stdout) if row["held"] is False]
    assert {row["about"] for row in broken} == {"target small"}
    assert len(broken) == 3
    assert any(row["text"].startswith("the file has 620,518 bytes") for row in broken)
    own.write_text('description = "d"\n[limits]\nmax_tflite_bytes = 700_000\n')
    assert verify(DEMO, "--target", own).exit_code == 0


def test_a_microcontroller_takes_another_form_than_the_bundle_has() -> None:
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed (extra micro)")
    done = verify(DEMO, "--target", "microcontroller")
    assert done.exit_code == 0
    assert "not checked  target microcontroller: student_int8_io is not there" in done.stdout


def test_an_unknown_target_is_code_2() -> None:
    done = verify(DEMO, "--target", "arm64-emulate")
    assert (done.exit_code, done.stdout) == (2, "")
    assert 'unknown target "arm64-emulate"; did you mean "arm64-emulated"?' in done.stderr
