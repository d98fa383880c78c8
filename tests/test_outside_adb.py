"""Measuring on Android: the parser on recorded output, and whole sessions through an adb that plays them back.

The recordings were written for these tests in the format of TensorFlow Lite's ``benchmark_model``
(``tensorflow/lite/tools/benchmark/README.md``; ``benchmark_model.cc`` for the timings, ``stats_calculator.cc`` for the
table), in its older form (tabs, ``[start]``, no median) and its newer one (``INFO:``, median). ``adb`` itself speaks as
its documentation says.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flatbuffer_models import dense_file

from edgekd import cli, target
from edgekd.errors import BenchmarkError, MissingRequirementError, ModelError, RecipeError, UserError
from edgekd.outside import adb
from edgekd.outside.adb_connection import abi_of, connect, parse_devices
from edgekd.outside.benchmark_model import ToolFigures, parse_figures, parse_operators
from edgekd.outside.session import Session

NEW = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [1]
INFO: Graph: [/data/local/tmp/edgekd-1/model0.tflite]
INFO: Loaded model /data/local/tmp/edgekd-1/model0.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.623154
INFO: Initialized session in 18.777ms.
INFO: Running benchmark for at least 20 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=20 first=6479 curr=4302 min=4190 max=6479 avg=4420.5 std=480 p5=4192 median=4307 p95=6479

INFO: Running benchmark for at least 100 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=100 first=4210 curr=4105 min=4011 max=4903 avg=4150.2 std=92 p5=4020 median=4120 p95=4301

INFO: Inference timings in us: Init: 18777, First inference: 6479, Warmup (avg): 4420.5, Inference (avg): 4150.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual \
memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=8.5 overall=18.25
"""
NEW_PROFILE = """\
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t ModifyGraphWithDelegate\t    2.014\t    2.014\t 96.410%\t 96.410%\t   912.000\t        1\tModifyGraphWithDelegate/0
\t         AllocateTensors\t    0.069\t    0.038\t  3.590%\t100.000%\t     0.000\t        2\tAllocateTensors/0

INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                QUANTIZE\t    0.110\t    0.100\t 10.000%\t 10.000%\t 0.000\t 1\t[tfl.quantize]:0
\tDelegate/Convolution (NHWC, QC8) IGEMM\t    0.320\t    0.300\t 30.000%\t 40.000%\t 0.000\t 1\t[Delegate]:0
\tDelegate/Fully Connected (NC, QS8, QC8W) GEMM\t    0.610\t    0.600\t 60.000%\t100.000%\t 0.000\t 1\t[Delegate]:1

============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\tDelegate/Fully Connected (NC, QS8, QC8W) GEMM\t    0.610\t    0.600\t 60.000%\t 60.000%\t 0.000\t 1\t[Delegate]:1

Number of nodes executed: 3
"""
OLD = """\
STARTING!
Num threads: [4]
Loaded model /data/local/tmp/edgekd-1/model0.tflite
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Peak memory footprint (MB): init=4.25 overall=46.5
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t   0.000\t    3.000\t    3.000\t 75.000%\t 75.000%\t 0.000\t 1\t[Relu;a b/c]:31
\t                 SOFTMAX\t   3.000\t    1.200\t    1.000\t 25.000%\t100.000%\t 0.000\t 1\t[Identity]:30

============================== Top by Computation Time ==============================
"""

# Reading what the tool prints


def test_figures_of_the_newer_tool() -> None:
    """The last count is that of the regular runs; microseconds become milliseconds."""
    assert parse_figures(NEW) == ToolFigures(100, 4.1502, 4.12, 4.301, 18.777, 6.479, 18.25)


def test_figures_of_the_older_tool() -> None:
    """Exponents, and no median."""
    assert parse_figures(OLD) == ToolFigures(50, pytest.approx(2950.34), None, None, 17.187, 3512.391, 46.5)


def test_memory_may_be_missing() -> None:
    text = "\n".join(line for line in NEW.splitlines() if "footprint delta" not in line)
    assert parse_figures(text).memory_mb is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "its last line: nothing"),
        ("CANNOT LINK EXECUTABLE: library not found", "its last line: CANNOT LINK EXECUTABLE"),
        (NEW.replace("Inference timings", "No timings"), "printed no timings"),
        (NEW.replace("count=", "number="), "printed no timings"),
        (NEW.replace("median=4120", "median=fast"), 'printed "fast" where a number'),
        (NEW.replace("median=4120", "median=inf"), "printed inf"),
        (NEW.replace("median=4120", "median=-4"), r"printed -0*4"),
        (NEW.replace("Init: 18777", "Init: 1.2.3"), r'printed "1\.2\.3"'),
    ],
)
def test_figures_that_are_none_are_told(text: str, said: str) -> None:
    with pytest.raises(BenchmarkError, match=said):
        parse_figures(text)


def test_operators_of_the_newer_tool() -> None:
    rows = [(row.name, row.index, row.in_delegate, row.ms, round(row.share, 9)) for row in parse_operators(NEW_PROFILE)]
    assert rows == [
        ("Fully Connected (NC, QS8, QC8W) GEMM", 1, True, 0.6, 0.6),
        ("Convolution (NHWC, QC8) IGEMM", 0, True, 0.3, 0.3),
        ("QUANTIZE", 0, False, 0.1, 0.1),
    ]


def test_operators_of_the_older_tool() -> None:
    rows = [(row.name, row.index, row.in_delegate, row.ms, row.share) for row in parse_operators(OLD)]
    assert rows == [("TfLiteXNNPackDelegate", 31, True, 3.0, 0.75), ("SOFTMAX", 30, False, 1.0, 0.25)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NEW, "no table of operators"),
        (NEW_PROFILE.partition("\t                QUANTIZE")[0], "an empty table"),
        (NEW_PROFILE.replace("\t    0.110\t    0.100", "\t    0.100"), "does not fit its head"),
        (NEW_PROFILE.replace("QUANTIZE", "1 " * 100_000), r"a line of .* characters"),
    ],
)
def test_tables_that_are_none_are_told(text: str, said: str) -> None:
    with pytest.raises(BenchmarkError, match=said):
        parse_operators(text)


# An adb that plays a session back

ADB = r"""
import json, pathlib, shlex, sys
home = pathlib.Path(__file__).parent
phone = json.loads((home / "phone.json").read_text())
words = sys.argv[1:]
with (home / "log").open("a") as log:
    log.write(json.dumps(words) + "\n")
if words == ["devices"]:
    print("* daemon started successfully\nList of devices attached\n" + phone["devices"])
    sys.exit()
assert words[:2] == ["-s", phone.get("serial", "R58M")], words
device = home / "device"
def local(path):
    return device / path.lstrip("/")
if words[2] == "push":
    if phone.get("full"):
        sys.exit("adb: error: failed to copy: remote couldn't write file: No space left on device")
    local(words[4]).write_bytes(pathlib.Path(words[3]).read_bytes())
    print("1 file pushed, 0 skipped.")
    sys.exit()
command, _, tail = words[3].rpartition("; echo ")
assert tail == "edgekd-exit-code:$?", words
command = shlex.split(command)
code = 0
if command[0] == "getprop":
    print(phone["properties"].get(command[1], ""))
elif command[0] == "mkdir":
    if phone.get("read_only"):
        print("mkdir: '" + command[1] + "': Read-only file system"); code = 1
    else:
        local(command[1]).mkdir(parents=True)
elif command[0] == "chmod":
    assert local(command[2]).is_file()
elif command[:2] == ["rm", "-rf"]:
    for path in local(command[2]).iterdir():
        path.unlink()
    local(command[2]).rmdir()
elif command[0].endswith("/benchmark_model"):
    flags = dict(word.lstrip("-").split("=", 1) for word in command[1:])
    assert local(command[0]).is_file() and local(flags["graph"]).is_file()
    index = flags["graph"][-8]
    print(phone["output"].get(index, phone["output"]["0"]))
    if flags.get("enable_op_profiling") == "true":
        print(phone["profile"])
    code = phone.get("code", 0)
else:
    sys.exit("what is " + command[0])
print("" if phone.get("unplugged") else "edgekd-exit-code:" + str(code))
"""


class Phone:
    """A phone, by what its adb says; ``calls`` are adb's arguments so far."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.facts: dict[str, Any] = {
            "devices": "R58M\tdevice\n",
            "properties": {
                "ro.product.manufacturer": "Maker",
                "ro.product.model": "Phone [/] 7\x1b[2J",
                "ro.soc.model": "SOC1",
                "ro.build.version.release": "14",
                "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
            },
            "output": {"0": NEW},
            "profile": NEW_PROFILE,
        }
        (folder / "script.py").write_text(ADB)
        (folder / "adb").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {folder}/script.py "$@"\n')
        (folder / "adb").chmod(0o755)
        self.set()

    def set(self, **facts: Any) -> None:
        self.facts.update(facts)
        (self.folder / "phone.json").write_text(json.dumps(self.facts))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    @property
    def left(self) -> list[Path]:
        return [path for path in (self.folder / "device").rglob("*") if path.is_file() or "edgekd" in path.name]


def program(path: Path, machine: int) -> Path:
    """The first bytes of an ELF program for a processor (``e_machine``)."""
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + (3).to_bytes(2, "little") + machine.to_bytes(2, "little"))
    return path


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    (folder := tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Phone(folder)


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    return program(tmp_path / "benchmark_model", 183)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name} (1).tflite" for name in ("a", "b")}
    for path in found.values():
        path.write_bytes(dense_file(np.ones((2, 2))))
    return found


QUICK = Session(num_processes=2, num_runs=100, warmup_runs=20)
HOST = target.load("host-as-phone-1t")


def test_session_is_played_back(phone: Phone, tool: Path, models: dict[str, Path]) -> None:
    phone.set(output={"0": NEW, "1": NEW.replace("median=4120", "median=8240")})
    report, operators = adb.measure(None, tool, models, replace(QUICK, num_processes=8), HOST)
    assert operators == {}
    assert (report.device, report.machine["model"], report.machine["soc"]) == ("adb:R58M", "Phone [/] 7?[2J", "SOC1")
    row = report.models["a"]
    assert (row["p50_ms"], row["mean_ms"], row["init_ms"], row["first_ms"]) == (4.12, 4.1502, 18.777, 6.479)
    assert (row["num_runs"], row["num_processes"], row["figures"]) == (800, 8, "measured")
    assert (row["p90_ms"], row["p99_ms"], row["peak_rss_bytes"]) == (None, None, None)
    assert row["memory_delta_bytes"] == 18.25 * 2**20
    (ratio,) = report.ratios
    assert (ratio["model"], ratio["ratio"], ratio["verdict"]) == ("b", pytest.approx(2), "slower")
    assert phone.left == []
    runs = [shlex.split(call[3].partition(";")[0]) for call in phone.calls if "benchmark_model --" in call[-1]]
    assert len(runs) == 16
    assert set(runs[0][2:]) == {
        *("--num_threads=1", "--num_runs=100", "--warmup_runs=20", "--min_secs=0", "--warmup_min_secs=0"),
        "--use_xnnpack=true",
    }


def test_operators_are_profiled_in_a_run_of_their_own(phone: Phone, tool: Path, models: dict[str, Path]) -> None:
    _, operators = adb.measure("R58M", tool, models, QUICK, HOST, operators=True)
    assert list(operators) == ["a", "b"]
    assert operators["a"][0].name == "Fully Connected (NC, QS8, QC8W) GEMM"
    profiled = [call for call in phone.calls if "--enable_op_profiling=true" in call[-1]]
    assert len(profiled) == 2
    assert phone.left == []


def test_older_tool_has_a_mean_alone(phone: Phone, tool: Path, models: dict[str, Path]) -> None:
    phone.set(output={"0": OLD})
    report, _ = adb.measure(None, tool, models, QUICK, HOST)
    assert report.models["a"]["p50_ms"] is None
    assert report.models["a"]["p50_ci95_ms"] is None
    assert report.models["a"]["mean_ms"] == pytest.approx(2950.34)
    assert any("prints a mean and no median" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("facts", "serial", "error", "said"),
    [
        ({"devices": ""}, None, MissingRequirementError, "adb sees no device; .*USB debugging"),
        ({"devices": "A\tdevice\nB\toffline\n"}, None, MissingRequirementError, r"several devices: A \(device\), B"),
        ({"devices": "A\tdevice\n"}, "R58M", MissingRequirementError, r"does not see R58M; it sees A \(device\)"),
        ({"devices": "R58M\tunauthorized\n"}, None, MissingRequirementError, "unauthorized: .*accept the dialogue"),
        ({"devices": "R58M\toffline\n"}, None, MissingRequirementError, "offline: .*adb kill-server"),
        (
            {"devices": "R58M\tno permissions (verify udev rules); see [x]\n"},
            None,
            MissingRequirementError,
            r"no permissions \(verify udev rules\).*: this user may not open it",
        ),
        ({"devices": "R58M\trecovery\n"}, None, MissingRequirementError, "cannot run programs in this state"),
        ({"properties": {}}, None, MissingRequirementError, "is for arm64-v8a, but R58M runs nothing that it names"),
        (
            {"properties": {"ro.product.cpu.abilist": "armeabi-v7a,armeabi"}},
            None,
            MissingRequirementError,
            "is for arm64-v8a, but R58M runs armeabi-v7a,armeabi; give a build",
        ),
        ({"full": True}, None, MissingRequirementError, "R58M has no space left"),
        ({"read_only": True}, None, BenchmarkError, "does not let us write to /data/local/tmp.*Read-only"),
        ({"unplugged": True}, None, BenchmarkError, "without an exit code; was it unplugged"),
        ({"code": 1, "output": {"0": "ERROR: Could not open model"}}, None, BenchmarkError, "ended with 1 .*not open"),
        ({"output": {"0": "Killed"}}, None, BenchmarkError, "printed no timings; its last line: Killed"),
    ],
)
def test_what_is_missing_is_told(
    facts: dict[str, Any],
    serial: str | None,
    error: type[Exception],
    said: str,
    phone: Phone,
    tool: Path,
    models: dict[str, Path],
) -> None:
    phone.set(**facts)
    with pytest.raises(error, match=said):
        adb.measure(serial, tool, models, QUICK, HOST)
    assert phone.left == []


def test_what_is_missing_here_is_told_before_the_phone_is_asked(
    phone: Phone, tool: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="needs --benchmark-model PATH"):
        adb.measure(None, None, models, QUICK, HOST)
    with pytest.raises(UserError, match="cannot be read"):
        adb.measure(None, tmp_path / "absent", models, QUICK, HOST)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match="is no program for Android"):
        adb.measure(None, tmp_path / "script", models, QUICK, HOST)
    (tmp_path / "no.tflite").write_text("<html>")
    with pytest.raises(ModelError, match=r'"no\.tflite": not a TensorFlow Lite file'):
        adb.measure(None, tool, {"no": tmp_path / "no.tflite"}, QUICK, HOST)
    with pytest.raises(UserError, match="a serial number is wanted"):
        connect("-H evil")
    reference = dataclasses.replace(HOST, kernel="reference")
    with pytest.raises(RecipeError, match="benchmark_model does not have"):
        adb.measure(None, tool, models, QUICK, reference)
    assert not (phone.folder / "log").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirementError, match="apt install adb"):
        adb.measure(None, tool, models, QUICK, HOST)


@pytest.mark.parametrize(("machine", "abi"), [(183, "arm64-v8a"), (40, "armeabi-v7a"), (62, "x86_64"), (3, "x86")])
def test_instruction_set_is_read_from_the_program(machine: int, abi: str, tmp_path: Path) -> None:
    """EM_AARCH64 183, EM_ARM 40, EM_X86_64 62, EM_386 3 (ELF, System V ABI)."""
    assert abi_of(program(tmp_path / "tool", machine)) == abi


def test_list_of_devices_is_read() -> None:
    devices = "emulator-5554\tdevice\n10.0.0.2:5555\toffline\n\n"
    output = f"* daemon not running; starting now\nList of devices attached\n{devices}"
    assert parse_devices(output) == {"emulator-5554": "device", "10.0.0.2:5555": "offline"}
    assert parse_devices("adb: unknown command") == {}


# The command


def test_command_shows_a_phone(phone: Phone, tool: Path, models: dict[str, Path]) -> None:
    words = ["benchmark", *map(str, models.values()), "--device", "adb", "--benchmark-model", str(tool), "--profile"]
    done = CliRunner().invoke(cli.main, [*words, "--processes", "2"])
    assert done.exit_code == 0, done.output
    assert "measured on adb:R58M: Maker Phone [/] 7?[2J, SOC1, Android 14, arm64-v8a" in done.stdout
    assert "4.120" in done.stdout
    assert "Fully Connected (NC, QS8, QC8W) GEMM" in done.stdout
    assert "60.0%" in done.stdout
    assert "made-up input" in done.stderr
    document = json.loads(CliRunner().invoke(cli.main, [*words, "--processes", "2", "--json"]).stdout)
    assert document["models"]["a (1)"]["p50_ms"] == 4.12
    assert document["operators"]["a (1)"]["operators"][0]["share"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--device", "sssh:pi"], 2, 'did you mean "ssh"?'),
        (["--device", "ssh:"], 2, "an address is ssh:HOST"),
        (["--device", "adb", "--onnx-runtime"], 2, "--onnx-runtime does not go with --device adb"),
        (["--device", "ssh:pi", "--profile"], 2, "--profile does not go with --device ssh"),
        (["--device", "ssh:pi", "--benchmark-model", "x"], 2, "--benchmark-model does not go with --device ssh"),
        (["--device", "adb", "--ssh-config", "x"], 2, "--ssh-config does not go with --device adb"),
        (["--device", "adb", "--images", __file__], 2, "--data or --images does not go with --device adb"),
        (["--device", "adb"], 2, "needs --benchmark-model"),
        (["--ssh-config", "x"], 2, "--ssh-config is for a device"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], code: int, said: str, models: dict[str, Path]) -> None:
    done = CliRunner().invoke(cli.main, ["benchmark", str(models["a"]), *words])
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
