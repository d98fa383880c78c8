"""What the store of the teacher's logits takes: disk, memory and time, for a data set far larger than most.

Two fresh processes: one writes made-up logits shard by shard, one opens the store (which checks every digest) and reads
batches of one epoch per view in shuffled order, comparing each with what was written. Memory is the largest resident
set less the resident set before, with numpy and edgekd imported: mapped pages count.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _host
import numpy as np
import psutil
from numpy.typing import NDArray

from edgekd.logits_store import Layout, LogitsStore, collect, write_shard
from edgekd.measure import peak_rss_bytes

MAX_DISK_BYTES = 2 * 1024**3
MAX_MEMORY_BYTES = 200 * 1024**2
SEED = 0
ROWS_AT_ONCE = 256  # a teacher's batch


def made_logits(view: int, samples: NDArray[np.integer], num_classes: int) -> NDArray[np.float32]:
    """Logits between -16 and 16, another row for each sample and view; exact in half precision."""
    mixed = samples[:, None] * 7919 + np.arange(num_classes) * 104729 + view * 1299709
    return ((mixed % 2049 - 1024) / 64).astype(np.float32)


def write(folder: Path, layout: Layout) -> dict[str, float]:
    """Write a store; the shards stand in a folder of their own first, as in a build."""
    shards = folder / "shards"
    shards.mkdir()
    (folder / "store").mkdir()
    start = time.perf_counter()
    for shard in layout.shards():
        starts = range(shard.start, shard.stop, ROWS_AT_ONCE)
        parts = [
            made_logits(shard.view, np.arange(start, min(start + ROWS_AT_ONCE, shard.stop)), shard.num_classes)
            for start in starts
        ]
        write_shard(shards, shard, np.concatenate(parts))
    collect(shards, layout, folder / "store")
    return {"write_s": time.perf_counter() - start}


def read(folder: Path, layout: Layout, batch_size: int) -> dict[str, float]:
    """Read every row of every view once, in batches, shuffled."""
    start = time.perf_counter()
    store = LogitsStore.open(folder / "store")
    opened = time.perf_counter() - start
    times = []
    for view in range(len(store)):
        order = np.random.default_rng([SEED, view]).permutation(layout.num_samples)
        for position in range(0, layout.num_samples, batch_size):
            samples = np.sort(order[position : position + batch_size])
            start = time.perf_counter()
            logits = store[view, samples]
            times.append(time.perf_counter() - start)
            if not np.array_equal(logits, made_logits(view, samples, layout.num_classes)):
                raise SystemExit(f"view {view}, batch {position // batch_size}: not the logits that were written")
    return {"open_s": opened, "read_batch_ms": 1000 * statistics.median(times), "num_batches": len(times)}


def above_the_start(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """What ``work`` returns, and the memory that it took."""
    before = psutil.Process().memory_info().rss
    return {**work(*arguments), "memory_bytes": peak_rss_bytes() - before}


def in_fresh_process(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(above_the_start, work, *arguments).result()


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--num-samples", type=int, default=1_000_000, help="images")
    parser.add_argument("--num-views", type=int, default=8, help="views of each")
    parser.add_argument("--num-classes", type=int, default=100, help="logits of each")
    parser.add_argument("--batch-size", type=int, default=128, help="images read at once")
    options = parser.parse_args()
    layout = Layout.cut(options.num_views, options.num_samples, options.num_classes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = in_fresh_process(write, folder, layout)
        disk = sum(path.stat().st_size for path in (folder / "store").iterdir())
        found = in_fresh_process(read, folder, layout, options.batch_size)
    memory = max(written["memory_bytes"], found["memory_bytes"])
    _host.report(
        {
            "benchmark": "logits_store",
            "shape": [layout.num_views, layout.num_samples, layout.num_classes],
            "batch_size": options.batch_size,
            "num_shards": len(layout.shards()),
            "disk_bytes": disk,
            "max_disk_bytes": MAX_DISK_BYTES,
            "memory_bytes_writing": written["memory_bytes"],
            "memory_bytes_reading": found["memory_bytes"],
            "max_memory_bytes": MAX_MEMORY_BYTES,
            "held": disk <= MAX_DISK_BYTES and memory <= MAX_MEMORY_BYTES,
            "write_s": round(written["write_s"], 1),
            "open_s": round(found["open_s"], 1),
            "num_batches_read": found["num_batches"],
            "read_batch_ms": round(found["read_batch_ms"], 3),
            "load": _host.load(),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
