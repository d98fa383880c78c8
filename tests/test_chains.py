"""Chains in child processes: what is passed on, what a failure leaves, and that no child outlives its parent."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgekd import chain_child, recipe
from edgekd.chains import Chain, run_chains
from edgekd.errors import TrainingError, UserError

TO_DATA = {"data.image_size": 32, "data.num_calibration_samples": 8, "num_threads": 1}


def to_data(title: str, path: Path) -> Chain:
    return Chain(title, recipe.load("default", {**TO_DATA, "data.path": str(path)}), "data")


def test_a_chain_that_fails_is_named_and_the_others_are_made(
    make_npz, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chains = [to_data("good", make_npz()), to_data("bad", tmp_path / "none.npz"), to_data("other", make_npz("o.npz"))]
    finished = []
    with (
        caplog.at_level(logging.INFO, "edgekd"),
        pytest.raises(UserError, match=r"1 of 3 failed: bad: .*none\.npz.*\. What the others made is kept") as raised,
    ):
        run_chains(chains, tmp_path / "cache", jobs=2, finished=lambda chain, seconds: finished.append(chain.title))
    assert raised.value.exit_code == 2  # that of the child's error
    assert sorted(finished) == ["good", "other"]
    assert any(message.startswith("good: data: ") for message in caplog.messages)
    assert "other: done, 2 of 3" in caplog.messages or "good: done, 2 of 3" in caplog.messages


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -9 $$", "its process was ended by SIGKILL"),
        ("echo first >&2; echo 'MemoryError: no' >&2; exit 1", "its process failed: MemoryError: no"),
        ("echo nonsense", "its process failed: it said nothing"),
    ],
)
def test_a_child_that_dies_is_told_of(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(TrainingError, match=f"1 of 1 failed: x: {reason}"):
        run_chains([to_data("x", tmp_path / "x.npz")], tmp_path, jobs=1)


def test_a_warning_of_several_children_is_passed_on_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'WARNING: odd images' >&2; echo '{\"seconds\": {\"student\": 2.5}}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    timed = []
    chains = [to_data(title, tmp_path / "x.npz") for title in "ab"]
    run_chains(chains, tmp_path, jobs=1, finished=lambda chain, seconds: timed.append(seconds))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == ["a: odd images"]
    assert timed == [{"student": 2.5}] * 2


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_children_end_with_their_parent(ending: signal.Signals, make_npz, tmp_path: Path) -> None:
    settings = {**TO_DATA, "teacher.model": "resnet_small", "teacher.training.epochs": 10_000}
    command = [sys.executable, "-m", "edgekd", "ablate", "--data", str(make_npz()), "--out", str(tmp_path / "out")]
    command += ["--cache-dir", str(tmp_path / "cache"), "--seeds", "0,1"]
    command += [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    # Tests that run in the background of a shell have SIGINT ignored, and would hand that down.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed)
    try:
        assert parent.stderr is not None
        lines = []
        while not any("teacher: data: " in line for line in lines):  # from here on the child trains
            lines.append(parent.stderr.readline())
            assert lines[-1], lines
        (child,) = psutil.Process(parent.pid).children()
        # A terminal sends Ctrl-C to the whole group.
        os.killpg(parent.pid, ending) if ending == signal.SIGINT else parent.send_signal(ending)
        told = parent.stderr.read()
        assert parent.wait(60) == (130 if ending == signal.SIGINT else -9)
        child.wait(60)
    finally:
        parent.kill()
        parent.communicate()
    if ending == signal.SIGINT:
        assert "interrupted. Finished stages are kept" in told
        assert "Traceback" not in told


def test_the_time_of_a_training_that_was_gone_on_with_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    progress = chain_child.TimedLines()
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: now[0])
        with progress.task("student", 400) as task:
            task.skip(250)
            task.advance(100)
            task.advance(50)
            now[0] = 106.0
    # 150 of 400 images in 6 seconds: 16 seconds for all.
    assert progress.seconds == {"student": pytest.approx(16.0)}


def test_a_training_of_which_nothing_was_left_has_no_time() -> None:
    progress = chain_child.TimedLines()
    with progress.task("student", 400) as task:
        task.skip(400)
    assert progress.seconds == {}
