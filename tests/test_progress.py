from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from edgekd import progress
from edgekd.progress import BarProgress, LineProgress, Progress


class Clock:
    """Stands for ``time``: it moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("edgekd")
    before = logger.propagate
    logger.propagate = True
    with caplog.at_level(logging.INFO, "edgekd"):
        yield caplog
    logger.propagate = before


def test_the_base_class_shows_nothing(capfd: pytest.CaptureFixture[str], log: pytest.LogCaptureFixture) -> None:
    with Progress().task("teacher", 10) as task:
        task.advance(10, loss=1.0)
    assert capfd.readouterr() == ("", "")
    assert log.messages == []


def test_a_line_every_ten_seconds_with_rate_figures_and_time_left(clock: Clock, log: pytest.LogCaptureFixture) -> None:
    with LineProgress().task("teacher", 1000) as task:
        for _ in range(4):
            clock.now += 6
            task.advance(100, loss=0.25)
        # After 12 s: 200 images at 16.7 a second; 800 are left: 48 s. The next line comes ten seconds later, at 24 s.
        assert log.messages == [
            "teacher: 200/1000 images, 17 images/s, loss 0.2500, 48.0 s left",
            "teacher: 400/1000 images, 17 images/s, loss 0.2500, 36.0 s left",
        ]
    assert log.messages[2:] == ["teacher: 400 images in 24.0 s"]


def test_short_work_says_nothing(clock: Clock, log: pytest.LogCaptureFixture) -> None:
    with LineProgress().task("verify", 10) as task:
        clock.now += 1.9
        task.advance(10)
    assert log.messages == []


def test_what_was_done_before_does_not_count_into_the_rate(clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """A resumed run begins at 500 of 1,000 images: 50 more in 10 s are 5 a second, and 450 take 90 s."""
    with LineProgress().task("teacher", 1000) as task:
        task.skip(500)
        clock.now += 10
        task.advance(50)
    assert log.messages[0] == "teacher: 550/1000 images, 5 images/s, 1 min 30 s left"
    assert log.messages[1] == "teacher: 50 images in 10.0 s"


def test_other_units(clock: Clock, log: pytest.LogCaptureFixture) -> None:
    with LineProgress().task("download", 4096, unit="bytes") as task:
        clock.now += 16
        task.advance(1024)
    assert log.messages[0].startswith("download: 1024/4096 bytes, 64 bytes/s")


def test_a_bar_goes_to_stderr_and_nothing_to_stdout(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with BarProgress().task("student", 200) as task:
        task.skip(50)
        task.advance(50, loss=0.125)
        task.advance(100, loss=0.0625)
    out, err = capfd.readouterr()
    assert out == ""
    assert "student" in err
    assert "200/200" in err
    assert "loss 0.0625" in err
    assert "images/s" in err


def _interrupt(shown: Progress) -> None:
    with shown.task("teacher", 10) as task:
        task.advance(1)
        raise KeyboardInterrupt


def test_an_error_inside_goes_through_and_the_bar_is_closed(capfd: pytest.CaptureFixture[str]) -> None:
    for shown in (BarProgress(), LineProgress(), Progress()):
        with pytest.raises(KeyboardInterrupt):
            _interrupt(shown)
    # A bar left open would refuse the next one: only one live display at a time.
    with BarProgress().task("again", 1) as task:
        task.advance(1)


def test_epochs_are_told_to_those_who_ask_for_more(clock: Clock, log: pytest.LogCaptureFixture) -> None:
    figures = {"epoch": 2, "round": 1, "loss": 0.5, "val_auc": 0.75}
    with log.at_level(logging.INFO, "edgekd"), LineProgress().task("student", 10) as task:
        task.end_epoch(figures)
    assert log.messages == []
    with log.at_level(logging.DEBUG, "edgekd"), LineProgress().task("student", 10) as task:
        task.end_epoch(figures)
    assert log.messages == ["student, epoch 3: loss 0.5000, val_auc 0.7500"]
