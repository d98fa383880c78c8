"""Counting instructions by a plug-in of the emulator; skipped without qemu, its plug-ins, or a compiler."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from flatbuffer_models import dense_file
from test_arm64 import cache as cache  # the fixture

from edgekd.arm64 import count_child, install, instructions
from edgekd.arm64.instructions import per_inference
from edgekd.errors import MissingRequirementError


def test_what_lies_between_marks_alone_is_taken_off() -> None:
    """Two warm-up pairs of 10 and 12 instructions; five inferences of 111, 112, 113, 500 and 111."""
    counts, now = [], 0
    for between in (10, 12, 111, 112, 113, 500, 111):
        counts += [now + 5, now + 5 + between]
        now += 5 + between
    assert per_inference(counts) == 112 - 11


def test_the_mark_is_the_same_on_both_sides() -> None:
    source = (Path(instructions.__file__).parent / "count.c").read_text()
    (mark,) = re.findall(r"MARK = (0x[0-9a-f]+);", source)
    assert int(mark, 16) == count_child.MARK < 2**31


def test_without_a_compiler_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingRequirementError, match="install gcc"):
        instructions.build(tmp_path / "count.so")


def test_the_plug_in_builds_without_a_warning(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    instructions.build(tmp_path / "count.so")
    assert (tmp_path / "count.so").read_bytes()[:4] == b"\x7fELF"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_larger_layer_takes_more(cache: Path, tmp_path: Path) -> None:
    """A dense layer of n x n float32 weights: 16 times the weights, of which one instruction takes four at most."""
    import numpy as np

    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    found = []
    for side in (256, 1024):
        path = tmp_path / f"dense_{side}.tflite"
        path.write_bytes(dense_file(np.random.default_rng(0).normal(size=(side, side))))
        try:
            found.append(instructions.instructions(path, install.installed(cache), "cortex-a76"))
        except MissingRequirementError as error:
            pytest.skip(str(error))
    small, large = found
    # Each weight is multiplied once; a vector of four a multiply, and less than four instructions around each.
    assert large - small > (1024**2 - 256**2) / 4
    assert large - small < 1024**2 - 256**2
