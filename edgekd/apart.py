"""The near side of :mod:`edgekd.model_child`: a stranger's model runs in a process of its own, for one question."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.errors import ModelError

SECONDS = 600.0
"""Longest time that a child may take."""


def ask(
    task: str,
    request: Mapping[str, Any],
    title: str,
    seconds: float = SECONDS,
    *,
    module: str = "edgekd.model_child",
    python: Sequence[str] = (sys.executable,),
) -> dict[str, Any]:
    """Start a child, ask it once, and return what it answers.

    Args:
        task: of the module's ``TASKS``.
        request: what the task takes.
        title: what messages call the model.
        seconds: longest time.
        module: what the child runs.
        python: the interpreter that runs it, with its options.

    Raises:
        ModelError: the model cannot be used, crashed the child, or took too long.
    """
    command = [*python, "-m", module, task]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{title} did not answer within {seconds:g} seconds and was stopped") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ModelError(f"{title} crashed the interpreter ({name}); the file is damaged, or not meant for LiteRT")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ModelError(f"{title} ended the process that ran it: {reason}") from None
    if "error" in answer:
        raise ModelError(answer["error"])
    return answer
