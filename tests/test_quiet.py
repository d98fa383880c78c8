"""Known chatter of native code is held back, and every other line is passed on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.quiet import quiet_native_stderr

# As TensorFlow, its converter and LiteRT print them.
CHATTER = [
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    b"I0000 00:00:1700000000.123456  4321 cpu_feature_guard.cc:227] This binary is optimized\n",
    b"W0000 00:00:1700000000.123456  4321 tf_tfl_flatbuffer_helpers.cc:365] Ignored output_format.\n",
    b"E0000 00:00:1700000000.123456  4321 cuda_platform.cc:51] failed call to cuInit\n",
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
    b"fully_quantize: 0, inference_type: 6, input_inference_type: UINT8\n",
]
NEWS = [
    b"E0000 00:00:1700000000.123456  4321 some_kernel.cc:99] out of memory\n",
    b"Segmentation fault\n",
    b"no line end",
]


@pytest.fixture
def native(capfd: pytest.CaptureFixture[str]) -> Callable[[], bytes]:
    """What has reached file descriptor 2."""
    return lambda: capfd.readouterr().err.encode()


@pytest.mark.parametrize("line", CHATTER)
def test_chatter_is_held_back(line: bytes, native: Callable[[], bytes]) -> None:
    with quiet_native_stderr():
        os.write(2, line)
    assert native() == b""


def test_everything_else_is_passed_on_in_order(native: Callable[[], bytes]) -> None:
    with quiet_native_stderr():
        for line in [CHATTER[0], NEWS[0], CHATTER[4], CHATTER[1], NEWS[1], NEWS[2]]:
            os.write(2, line)
        assert native() == b""  # not before the end
    assert native() == b"".join(NEWS)


def test_what_was_said_before_a_failure_is_not_lost(native: Callable[[], bytes]) -> None:
    def fail() -> None:
        with quiet_native_stderr():
            os.write(2, CHATTER[0] + NEWS[1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert native() == NEWS[1]
    os.write(2, CHATTER[0])
    assert native() == CHATTER[0]  # outside, nothing is held back


def test_one_within_another(native: Callable[[], bytes]) -> None:
    with quiet_native_stderr():
        with quiet_native_stderr():
            os.write(2, NEWS[0] + CHATTER[0])
        os.write(2, NEWS[1])
    assert native() == NEWS[0] + NEWS[1]


def test_python_lines_keep_their_place(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", file=sys.stderr)
    with quiet_native_stderr():
        print("within", file=sys.stderr)
    print("after", file=sys.stderr)
    assert capfd.readouterr().err.split() == ["before", "within", "after"]


def test_descriptors_are_given_back() -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no list of open descriptors on this system")
    before = len(list(folder.iterdir()))
    for _ in range(5):
        with quiet_native_stderr():
            os.write(2, CHATTER[0])
    assert len(list(folder.iterdir())) == before


def test_a_process_without_stderr() -> None:
    code = (
        "import os; os.close(2)\n"
        "from edgekd.quiet import quiet_native_stderr\n"
        "with quiet_native_stderr():\n    print('ran')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ran\n")
