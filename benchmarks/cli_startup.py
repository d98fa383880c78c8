"""How long ``edgekd --help`` takes against ``python -c "import click"``: whole processes, interleaved."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import _host
import numpy as np


def seconds(command: list[str]) -> float:
    """Wall time of one process that must end with 0."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="interleaved rounds; the median is reported")
    options = parser.parse_args()
    script = shutil.which("edgekd", path=str(Path(sys.executable).parent))
    if script is None:
        raise SystemExit("no console script edgekd beside this python; install the package first")
    commands = {"import_click": [sys.executable, "-c", "import click"], "help": [script, "--help"]}
    for command in commands.values():  # the first start reads the files from the disk
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in commands}
    generator = np.random.default_rng(0)
    for _ in range(options.rounds):
        for name in generator.permutation(list(commands)):
            times[name].append(seconds(commands[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    _host.report(
        {
            "benchmark": "cli_startup",
            "rounds": options.rounds,
            "import_click_s": round(medians["import_click"], 4),
            "help_s": round(medians["help"], 4),
            "ratio": round(medians["help"] / medians["import_click"], 2),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
