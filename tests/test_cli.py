"""The command line: help, exit codes, one-line messages, the plan and the final table."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from tflite_models import tiny_file

from edgekd import cli, errors, recipe
from edgekd.errors import EdgekdError

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def all_commands(command: click.Command, path: str = "") -> dict[str, click.Command]:
    """Every command of the tree by its words; the group itself is the empty text."""
    found = {path: command}
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found |= all_commands(child, f"{path} {name}".strip())
    return found


COMMANDS = all_commands(cli.main)


@pytest.fixture(autouse=True)
def _logger_left_as_it_was() -> Iterator[None]:
    """A command points the logger at the stderr of its own process; here that is the runner's, which goes away."""
    logger = logging.getLogger("edgekd")
    before = (logger.handlers[:], logger.propagate, logger.level)
    yield
    logger.handlers[:], logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path / "cache"))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def in_a_process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """For what sets TensorFlow's thread count, which a process can do once."""
    command = [sys.executable, "-m", "edgekd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def raises(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def assert_refused(result: Result, *parts: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("edgekd: ")
    for part in parts:
        assert part in result.stderr


# Help


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help(path: str) -> None:
    for flag in ("-h", "--help"):
        result = call(*path.split(), flag)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("Usage: ")
    text = COMMANDS[path].help or ""
    assert text.strip().splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_has_help(path: str) -> None:
    options = [param for param in COMMANDS[path].params if isinstance(param, click.Option)]
    assert [option.name for option in options if not (option.help or "").strip().endswith(".")] == []


@pytest.mark.parametrize("path", COMMANDS)
def test_every_argument_is_named_in_the_help(path: str) -> None:
    """click shows no text of its own for arguments, so the command's text has to."""
    command = COMMANDS[path]
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    help_text = call(*path.split(), "--help").stdout
    for argument in arguments:
        shown = argument.make_metavar(click.Context(command)).strip("[].")
        assert shown.split(".")[0] in help_text


def test_the_help_names_every_builtin_recipe() -> None:
    text = " ".join((COMMANDS["build"].help or "").split())
    named = re.search(r"built-in name \(([^)]*)\)", text)
    assert named is not None
    assert sorted(named[1].split(", ")) == recipe.builtin_names()


def test_the_help_tells_the_exit_codes() -> None:
    assert [int(code) for code in re.findall(r"\b\d+\b", (cli.main.help or "").split("Exit codes:")[1])] == [
        *(0, 1, 2, 3, 130)
    ]


def test_version() -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"edgekd {VERSION}\n", "")


def test_no_command_shows_the_help() -> None:
    result = call()
    assert "Commands:" in result.output
    assert "build" in result.output


# Exit codes


def error_classes(base: type[EdgekdError] = EdgekdError) -> list[type[EdgekdError]]:
    own = [child for child in base.__subclasses__() if child.__module__ == errors.__name__]
    return [base, *(found for child in own for found in error_classes(child))]


# As the contract has them: 2 what the user gave, 3 what the environment lacks, 1 anything else.
USERS = {"UserError", "RecipeError", "DataError", "ModelError", "OutputError"}


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_is_one_line_and_its_exit_code(error: type[EdgekdError], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.api.build", raises(error("what is wrong; what to do")))
    result = call("build")
    expected = 2 if error.__name__ in USERS else 3 if error.__name__ == "MissingRequirementError" else 1
    assert result.exit_code == expected
    assert (result.stdout, result.stderr) == ("", "edgekd: what is wrong; what to do\n")


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.api.build", raises(KeyboardInterrupt()))
    result = call("build")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr == "edgekd: interrupted. Finished stages are kept. To go on: edgekd build\n"


def test_an_interrupt_says_what_is_kept_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgekd.artifact import Artifact
    from edgekd.cache import Cache
    from edgekd.progress import Progress
    from edgekd.stage_runner import StageRunner

    def made(config: str, out_dir: Path) -> Artifact:
        if config == "third":
            raise KeyboardInterrupt
        return Artifact.seal(out_dir, {})

    def build(*_: object, **__: object) -> None:
        runner = StageRunner(0, 1, None, Cache(tmp_path), Progress(), None)
        for name in ("first", "second", "third"):
            runner.cached(name, made, config=name)

    monkeypatch.setattr("edgekd.api.build", build)
    result = call("build", "my recipe.toml", "--seed", "3")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[-1] == (
        "edgekd: interrupted in stage third. Kept: first, second; where it trains, its last checkpoint too (a minute "
        "old at most). To go on: edgekd build 'my recipe.toml' --seed 3"
    )


def test_a_termination_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("edgekd.api.build", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    result = call("build")
    assert result.exit_code == 130
    assert result.stderr.startswith("edgekd: interrupted. ")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_defect_of_ours_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.api.build", raises(ZeroDivisionError()))
    assert isinstance(call("build").exception, ZeroDivisionError)


# What is mistyped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "quikstart"], 'unknown recipe "quikstart"; did you mean "quickstart"?'),
        (["build", "nowhere.toml"], 'recipe "nowhere.toml" does not exist; built-in recipes: breastmnist, cifar100'),
        (["build", "--set", "distill.temprature=2"], 'unknown key "distill.temprature"; did you mean "temperature"?'),
        (["build", "--set", "distil.temperature=2"], 'unknown key "distil"; did you mean "distill"?'),
        (["build", "--set", "distill.temperature"], '--set "distill.temperature": key=value is wanted'),
        (["build", "--set", "=2"], '--set "=2": key=value is wanted'),
        (["build", "--set", "distill.temperature="], "distill.temperature = '': a number is wanted"),
        (["build", "--set", "distill=2"], '"distill" is a table of keys, not 2'),
        (["build", "--seed", "-1"], "seed = -1: allowed: at least 0"),
        (["build", "--data", "pneumoniamnst"], 'known data set; did you mean "pneumoniamnist"?'),
        (["build", "--data", "nowhere/images"], '--data "nowhere/images": no such file or folder'),
        (["build", "--data", "nowhere.npz"], '--data "nowhere.npz": no such file or folder'),
        (["build", "--until", "destill"], 'unknown stage "destill"; did you mean "distill"?'),
        (["build", "--dry-run", "--until", "destill"], 'unknown stage "destill"; did you mean "distill"?'),
        (["build", "--until", "student_alone"], "bring it in with --set distill.train_alone=true"),
        (["build", "default"], "name a data set (data.name), or give --data PATH"),
        (["build", "--dry-run", "--set", "data.name=breastmnst"], 'data set "breastmnst"; did you mean "breastmnist"?'),
        (["benchmark", "nowhere.tflite"], '"nowhere.tflite": no such file; a .tflite file is wanted'),
    ],
)
def test_a_wrong_word_is_one_line_with_what_was_meant(arguments: list[str], message: str) -> None:
    assert_refused(call(*arguments), message)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--sed", "1"], "No such option"),
        (["build", "--seed", "one"], "'one' is not a valid integer"),
        (["build", "quickstart", "second"], "unexpected extra argument"),
        (["benchmark"], "Missing argument"),
    ],
)
def test_wrong_usage_shows_the_usage_and_the_reason(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_an_unknown_command_is_one_line_with_the_nearest() -> None:
    near, far = call("bild"), call("zzzz")
    assert (near.exit_code, near.stdout) == (far.exit_code, far.stdout) == (2, "")
    assert near.stderr == 'Error: unknown command "bild"; did you mean "build"?\n'
    assert far.stderr == f'Error: unknown command "zzzz"; known: {", ".join(sorted(cli.main.commands))}\n'


def test_unknown_target_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    result = call("benchmark", tmp_path / "model.tflite", "--target", "hots")
    assert_refused(result, 'unknown target "hots"; did you mean "host"?')


def test_images_where_a_recipe_belongs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images.npz").write_bytes(b"")
    for name in ("images", "images.npz"):
        assert_refused(call("build", tmp_path / name), f"did you mean --data {tmp_path / name}")


def test_a_broken_recipe_file(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[data\n")
    assert_refused(call("build", tmp_path / "broken.toml"), 'broken.toml" is not valid TOML')


# The plan


def test_dry_run_lists_every_stage_and_writes_nothing(tmp_path: Path, make_npz: Callable[..., Path]) -> None:
    done = in_a_process(
        *("build", "--data", make_npz(), "--dry-run", "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache"),
        *("--set", "distill.train_alone=true", "--set", "num_threads=1", "--set", "seed=7", "--no-measure"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    # 28 pixels: 32 is the smallest side offered. The default recipe and the two settings give the rest.
    assert lines[0] == (
        "recipe default: images of 32 pixels, teacher resnet_small, student mobilenet_v2 0.35, seed 7, 1 threads"
    )
    # The chain as the README draws it.
    stages = [
        *("data", "teacher", "student_alone", "teacher_logits", "distill", "prune"),
        *("quantize.distilled", "quantize", "verify", "benchmark", "bundle", "report"),
    ]
    assert [line.split(maxsplit=4) for line in lines[1:13]] == [
        [stage, "to", "run", "unknown", "(not measured here yet)"] for stage in stages
    ]
    assert lines[13:] == [
        "estimated time: unknown",
        f"  not in it, as this machine has no figures of them yet: {', '.join(stages)}",
        "estimated peak memory: unknown",
        # 42 images of 32 x 32 x 3 bytes; two bytes for each of 24 images, 8 views and 2 classes.
        "in the cache: images 126.0 KiB, the teacher's logits 768 B",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["halves.npz", "work"]
    assert list((tmp_path / "work").iterdir()) == []


def test_dry_run_stops_at_until_and_leaves_out_what_the_recipe_does(make_npz: Callable[..., Path]) -> None:
    until = ("--until", "quantize", "--set", "prune.method=none", "--json", "--no-measure")
    done = in_a_process("build", "--data", make_npz(), "--dry-run", *until)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    stages = [stage["name"] for stage in document["estimate"]["stages"]]
    assert stages == ["data", "teacher", "teacher_logits", "distill", "quantize"]
    assert document["dataset"] == {"num_train": 24, "num_val": 8, "num_test": 10, "num_classes": 2}
    assert document["estimate"]["unknown"] == stages


def test_dry_run_takes_a_few_steps_and_says_so(
    tmp_path: Path, make_npz: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    row = {"train_seconds": 0.01, "run_seconds": 0.002, "start_seconds": 4.0, "num_params": 2048, "macs": 1_500}
    monkeypatch.setattr(
        "edgekd.estimate._ask",
        lambda request: {"networks": {one["name"]: {**row, "peak_rss_bytes": 2**30} for one in request["networks"]}},
    )
    monkeypatch.setattr("edgekd.estimate._is_busy", lambda: True)
    settings = ("--set", "teacher.training.epochs=3", "--set", "teacher.training.batch_size=12", "--until", "teacher")
    done = call("build", "--data", make_npz(), "--dry-run", "--cache-dir", tmp_path / "cache", *settings)
    assert done.exit_code == 0, done.stderr
    # sized_to: 24 images in batches of 3. 3 epochs of 24 images and a third of 8, at 10 ms, and 4 s: 4.8 s.
    assert "  teacher            to run          ~4.8 s  (a few steps of training now)\n" in done.stdout
    assert "estimated time: about 4.8 s, measured on a busy machine\n" in done.stdout
    assert "estimated peak memory: about 1.0 GiB (a few steps of training)\n" in done.stdout


def test_dry_run_says_what_would_be_tried_to_keep_a_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_npz: Callable[..., Path]
) -> None:
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    budget = ("--set", "budget.max_p50_ms=0.5", "--set", "prune.final_sparsity=0.8")
    done = call("build", "--data", make_npz(), "--dry-run", "--no-measure", "--cache-dir", tmp_path / "cache", *budget)
    assert done.exit_code == 0, done.stderr
    accuracy, costs = done.stdout.split("budget: ")[1].split("  where bytes, milliseconds or memory fall short:\n")
    assert "  where accuracy or a recall falls short:\n" in accuracy
    tried = [line.split(maxsplit=1) for text in (accuracy, costs) for line in text.splitlines() if line[:4] == " " * 4]
    assert ["half_pruning", "prune.final_sparsity = 0.4"] in tried
    assert ["macs_25", "prune.method = channel, prune.keep_macs = 0.25"] in tried
    assert ("half_pruning" in accuracy, "half_pruning" in costs, "macs_25" in costs) == (True, False, True)


# Where it is written


@pytest.fixture
def data_only(monkeypatch: pytest.MonkeyPatch, make_npz: Callable[..., Path]) -> Callable[..., Result]:
    """``build --until data`` within this process, whose thread count is left alone."""
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    npz = make_npz()

    def build(out: Path, *arguments: object) -> Result:
        few = "data.num_calibration_samples=8"
        return call("build", "--data", npz, "--until", "data", "--quiet", "--set", few, "--out", out, *arguments)

    return build


def test_until_says_what_there_is(tmp_path: Path, data_only: Callable[..., Result]) -> None:
    result = data_only(tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"stopped after data; models so far in {tmp_path / 'out' / 'models'}: none\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.jsonl", "models", "recipe.toml"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, data_only: Callable[..., Result]) -> None:
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "beach.jpg").write_bytes(b"mine")
    assert_refused(data_only(out), f'"{out}" is not an edgekd run and is left alone', "--out")
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("beach.jpg", b"mine")]


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_a_place_below_a_file_is_refused(below: str, tmp_path: Path, data_only: Callable[..., Result]) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert_refused(data_only(tmp_path / "file" / below), f'"{tmp_path / "file" / below}"', "--out")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_cache_below_a_file_is_refused(tmp_path: Path, data_only: Callable[..., Result]) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    result = data_only(tmp_path / "out", "--cache-dir", tmp_path / "file" / "cache")
    assert_refused(result, f'"{tmp_path / "file" / "cache"}" cannot be written', "--cache-dir")


def test_a_full_disk_below_the_run_folder(
    tmp_path: Path, data_only: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("edgekd.run_folder.tempfile.mkdtemp", raises(full))
    result = data_only(tmp_path / "out")
    assert_refused(result, f'"{tmp_path / "out"}" cannot be written (No space left on device); free space', "--out")


def test_a_full_disk_while_a_stage_writes(
    tmp_path: Path, data_only: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage's folder goes, the run before stays, and the same command works once there is space."""
    assert data_only(tmp_path / "out").exit_code == 0
    before = (tmp_path / "out" / "recipe.toml").read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", raises(full))
        result = data_only(tmp_path / "out", "--set", "data.image_size=16")
    assert_refused(result, f'"{tmp_path / "cache"}" cannot be written (No space left on device)', "--cache-dir")
    assert (tmp_path / "out" / "recipe.toml").read_bytes() == before
    assert not list((tmp_path / "out").glob(".staging-*"))
    assert not [path for path in (tmp_path / "cache" / "work").iterdir() if "-" in path.name]
    assert data_only(tmp_path / "out", "--set", "data.image_size=16").exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_disk_that_refuses_in_earnest(tmp_path: Path, make_npz: Callable[..., Path]) -> None:
    """The kernel itself refuses files above 4 KiB; the images take 42 x 32 x 32 x 3 bytes, 126 KiB."""
    import resource

    npz = make_npz()
    done = in_a_process(
        *("build", "--data", npz, "--until", "data", "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f'edgekd: "{tmp_path / "cache"}" cannot be written (File too large)' in done.stderr


# What is printed at the end


def metrics(top1: float, auc: float) -> dict[str, Any]:
    return {"top1": top1, "auc": auc}


def report_by_hand(*, held: bool = True) -> Mapping[str, Any]:
    return {
        "seed": 3,
        "dataset": {"name": "halves", "num_test": 624},
        "models": [
            {
                **{"id": "teacher_fp32", "role": "teacher", "shipped": False},
                **{"tflite_bytes": 4_096_000, "gzip_bytes": 3_072_000},
                **{"val": metrics(0.96, 0.99), "test": metrics(0.875, 0.95)},
                "latency": [{"p50_ms": 12.0, "p50_ci95_ms": [11.0, 13.0]}],
            },
            {
                **{"id": "student_int8", "role": "student", "shipped": True},
                **{"tflite_bytes": 512_000, "gzip_bytes": 256_000},
                **{"val": metrics(0.95, 0.98), "test": metrics(0.8125, 0.9375)},
                "latency": [],
            },
        ],
        "claims": [{"verdict": "not shown", "text": "student_int8 loses nothing"}],
        "not_measured": ["what distillation brought"],
        "budget": None,
        "target": None,
        "npu": None,
        "serving": None,
        "candidates": [],
        "gates": [
            {"id": "min_auc", "measured": 0.9375, "limit": 0.9, "held": True},
            {"id": "max_tflite_bytes", "measured": 512_000, "limit": 1_000_000 if held else 500_000, "held": held},
        ],
    }


def finished(path: Path, *, held: bool) -> Any:
    from edgekd.pipeline import Run
    from edgekd.run_report import Report

    return Run(path, Report(report_by_hand(held=held)), ())


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
def test_the_final_table(held: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.api.build", lambda *_, **__: finished(tmp_path, held=held))
    result = call("build", "--quiet")
    assert (result.exit_code, result.stderr) == (code, "")
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == "halves, test split, n = 624, seed 3; against teacher_fp32"
    columns = ["model", "KiB", "gzip KiB", "top-1", "AUC", "p50 ms", "times smaller", "times faster"]
    assert re.split(r" {2,}", lines[1]) == columns
    # 4,096,000 / 1024 = 4,000 and 512,000 / 1024 = 500; half to even is what 0.8125 with three digits shows.
    assert lines[3].split() == ["teacher_fp32", "4,000", "3,000", "0.875", "0.950", "12.000", "1.0", "1.0"]
    # Not timed: a dash, and no ratio of it. 4,096,000 / 512,000 = 8.
    assert lines[4].split() == ["student_int8", "500", "250", "0.812", "0.938", "–", "8.0", "–"]
    assert lines[5:] == [
        "not shown: student_int8 loses nothing",
        "not measured: what distillation brought",
        "gate min_auc: held, 0.9375 against 0.9",
        "gate max_tflite_bytes: "
        + ("held, 512,000 against 1,000,000" if held else "FELL SHORT, 512,000 against 500,000"),
        f"report: {tmp_path / 'report.html'}",
        f"bundle: {tmp_path / 'bundle'}",
    ]


def test_quiet_keeps_warnings_and_drops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(*_: object, **__: object) -> Any:
        logging.getLogger("edgekd").info("by the way")
        logging.getLogger("edgekd").warning("look out")
        return finished(tmp_path, held=True)

    monkeypatch.setattr("edgekd.api.build", speak)
    quiet, loud = call("build", "-q"), call("build")
    assert [line.split(" ", 1)[1] for line in quiet.stderr.splitlines()] == ["look out"]
    assert [line.split(" ", 1)[1] for line in loud.stderr.splitlines()] == ["by the way", "look out"]
    assert "by the way" not in loud.stdout


def test_verbose_tells_more_and_not_with_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(*_: object, **__: object) -> Any:
        logging.getLogger("edgekd").debug("in passing")
        return finished(tmp_path, held=True)

    monkeypatch.setattr("edgekd.api.build", speak)
    assert call("build", "--verbose").stderr.split(" ", 1)[1] == "in passing\n"
    assert call("build").stderr == ""
    assert_refused(call("build", "-q", "-v"), "--quiet and --verbose: one of the two")


def test_the_result_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.api.build", lambda *_, **__: finished(tmp_path, held=False))
    result = call("build", "--json")
    assert result.exit_code == 1  # a gate fell short, as without
    document = json.loads(result.stdout)
    assert (document["run"], document["held"]) == (str(tmp_path), False)
    assert document["report"]["models"][1]["id"] == "student_int8"


# Completion


def completions(*words: str) -> list[str]:
    """What bash is given after these words, by the process that its script starts."""
    environment = {
        **os.environ,
        **{
            "_EDGEKD_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["edgekd", *words]),
            "COMP_CWORD": f"{len(words)}",
        },
    }
    code = "from edgekd.cli import main; main(prog_name='edgekd')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed() -> None:
    assert completions("b") == ["benchmark", "build", "bundle"]
    assert completions("cache", "") == ["list", "prune", "verify"]
    assert completions("build", "--dry") == ["--dry-run"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_asks_the_command_that_is_installed(shell: str) -> None:
    result = call("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_EDGEKD_COMPLETE={shell}_complete" in result.stdout
    assert "%(" not in result.stdout
    assert call("completion", "tcsh").exit_code == 2


def test_child_processes_import_nothing_from_the_working_folder(tmp_path: Path) -> None:
    """A folder of images may hold a numpy.py; the process that measures would run it."""
    (tmp_path / "numpy.py").write_text("from pathlib import Path; Path('was_run').touch()\n")
    (tmp_path / "model.tflite").write_bytes(tiny_file("int8"))
    command = [sys.executable, "-P", "-m", "edgekd", "benchmark", "model.tflite"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was_run").exists()


def test_a_command_leaves_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    assert call("target", "list").exit_code == 0
    assert dict(os.environ) == before
    monkeypatch.setenv("PYTHONSAFEPATH", "0")
    assert call("target", "list").exit_code == 0
    assert os.environ["PYTHONSAFEPATH"] == "0"
