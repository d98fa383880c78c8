"""Sent to a device as text and run by its python3: takes files and jobs from stdin, answers with one line of JSON.

On stdin comes a line of JSON, ``{"files": [[path, size], ...], "jobs": [{...}, ...], "seconds": s}``, and then the
bytes of the files. They are laid into a temporary folder, which is removed at the end, whatever the end is: a signal, a
full disk, or the near side gone, which is seen by the end of stdin. Each job is the request of one process of
:mod:`edgekd.measure`, which is among the files. The answer is ``{"answers": [...]}`` or ``{"failed": reason, "text"}``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any


def lay_out(files: list[tuple[str, int]], source: IO[bytes], folder: Path) -> None:
    """Write the files that come one after the other. Raises EOFError where the stream ends too early."""
    for name, size in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            left = size
            while left:
                part = source.read(min(left, 1 << 20))
                if not part:
                    raise EOFError(name)
                file.write(part)
                left -= len(part)


def run_jobs(jobs: list[dict[str, Any]], folder: Path, seconds: float) -> dict[str, Any]:
    """Run each job in a fresh process; stop at the first that fails."""
    deadline = time.monotonic() + seconds
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    answers = []
    for job in jobs:
        left = deadline - time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edgekd.measure"],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                cwd=folder,
                env=environment,
                timeout=max(left, 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failed": "timeout", "text": ""}
        if done.returncode < 0:
            return {"failed": "crash", "text": signal.Signals(-done.returncode).name, "model": job["model"]}
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            text = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return {"failed": "process", "text": text[:300], "model": job["model"]}
        if "error" in answer:
            return {"failed": "model", "text": str(answer["error"])[:300], "model": job["model"]}
        answers.append(answer)
    return {"answers": answers}


def leave_with(stream: int) -> None:
    """End this process when the stream ends: nobody waits for the answer any more."""
    if os.read(stream, 1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve one session."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    source = sys.stdin.buffer
    header = json.loads(source.readline())
    folder = Path(tempfile.mkdtemp(prefix="edgekd-"))
    try:
        lay_out(header["files"], source, folder)
        threading.Thread(target=leave_with, args=(source.fileno(),), daemon=True).start()
        answer = run_jobs(header["jobs"], folder, header["seconds"])
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {"failed": "disk" if full else "system", "text": f"{folder.parent}: {error.strerror}"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
