"""Architecture search: forms and their costs, the choice under a budget, and a small search from end to end."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import recipe
from edgekd.config.blocks import Blocks
from edgekd.config.budget import Budget
from edgekd.config.nas import Nas
from edgekd.errors import RecipeError, SearchError, UserError
from edgekd.nas import candidates, check, result
from edgekd.nas.candidates import Judged
from edgekd.nas.forms import Block, Tail, forms_in, forms_of
from edgekd.nas.latency_table import LatencyTable
from edgekd.nas.timed import TimedProgress
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.supernet.space import Space

BLOCKS = Blocks(
    stem_channels=8, channels=(8, 16), depths=(1, 1), kernels=(3, 3), expansions=(2, 2), strides=(1, 2), head_channels=0
)


# Forms


def test_the_forms_of_a_network_by_hand() -> None:
    """30 pixels are 15 after the stem and 8 after the first block of stride 2: SAME rounds up."""
    blocks = dataclasses.replace(BLOCKS, depths=(2, 2), kernels=(3, 5), expansions=(2, 4))
    assert forms_of(blocks, 30) == [
        Block(side=15, in_channels=8, channels=8, kernel=3, expansion=2, stride=1),
        Block(side=15, in_channels=8, channels=8, kernel=3, expansion=2, stride=1),
        Block(side=15, in_channels=8, channels=16, kernel=5, expansion=4, stride=2),
        Block(side=8, in_channels=16, channels=16, kernel=5, expansion=4, stride=1),
        Tail(side=8, in_channels=16),
    ]


@pytest.mark.parametrize("depths", [(1,), (1, 3), (0, 1, 2)])
def test_the_forms_in_a_space_are_those_of_its_networks(depths: tuple[int, ...]) -> None:
    """By going through every network."""
    space = Space.of(BLOCKS, 1.0, Nas(widths=(1.0, 2.0), depths=depths, kernels=(3, 5), expansions=(2,)))
    generator = np.random.default_rng(0)
    networks = {space.drawn(generator) for _ in range(3000)}
    assert len(networks) == space.size
    forms = forms_in(space, 32)
    assert len(set(forms)) == len(forms) == len({form.name for form in forms})
    assert set(forms) == {form for blocks in networks for form in forms_of(blocks, 32)}


# The latency table


def test_what_is_beside_the_blocks_is_found_from_whole_networks() -> None:
    """Made up: forms pay 2 ms and 100 bytes more alone than within, and a network has 5 ms and 1,000 bytes beside."""
    within = {"a": (1.0, 10.0), "b": (3.0, 20.0), "c": (7.0, 50.0)}
    forms = {name: {"p50_ms": time + 2, "tflite_bytes": size + 100} for name, (time, size) in within.items()}
    networks = [
        (
            names,
            {"p50_ms": 5 + sum(within[n][0] for n in names), "tflite_bytes": 1000 + sum(within[n][1] for n in names)},
        )
        for names in (["a"], ["a", "b", "c"], ["b", "b"])
    ]
    table = LatencyTable.fitted(forms, networks)
    assert table.less == pytest.approx({"p50_ms": 2, "tflite_bytes": 100})
    assert table.rest == pytest.approx({"p50_ms": 5, "tflite_bytes": 1000})


def test_the_prediction_is_the_sum_over_the_blocks() -> None:
    blocks = dataclasses.replace(BLOCKS, depths=(2, 1))
    costs = {form.name: {"p50_ms": 0.5, "tflite_bytes": 400.0} for form in forms_of(blocks, 32)}
    table = LatencyTable(costs, {"p50_ms": 0.1, "tflite_bytes": 50.0}, {"p50_ms": 1.0, "tflite_bytes": 2000.0})
    # Two blocks, one more, and the tail.
    assert table.predict(blocks, 32) == pytest.approx({"p50_ms": 1 + 4 * 0.4, "tflite_bytes": 2000 + 4 * 350})


def test_networks_of_one_length_tell_the_sum_of_both() -> None:
    table = LatencyTable.fitted(
        {"a": {"p50_ms": 3.0, "tflite_bytes": 30.0}},
        [(["a", "a"], {"p50_ms": 10.0, "tflite_bytes": 100.0})] * 2,
    )
    assert table.rest["p50_ms"] + 2 * (3 - table.less["p50_ms"]) == pytest.approx(10)


# The choice


def network(number: int) -> Blocks:
    return dataclasses.replace(BLOCKS, stem_channels=8 + number)


def judged(auc: float | None, size: float, time: float = 1.0) -> Judged:
    val = None if auc is None else {"auc": auc, "loss": 0.5, "accuracy": 0.5}
    return Judged({"tflite_bytes": size, "p50_ms": time}, val)


BUDGET = Budget(max_tflite_bytes=100, max_p50_ms=2.0)


def test_within_the_budget_by_auc_and_beyond_by_distance() -> None:
    found = {
        network(0): judged(None, 150),
        network(1): judged(0.8, 100),
        network(2): judged(None, 90, 2.2),
        network(3): judged(0.9, 60),
    }
    assert candidates.best(found, BUDGET, 4) == [network(3), network(1)]
    assert [row["place"] for row in result.candidate_rows(found, BUDGET)] == [4, 2, 3, 1]
    beyond = {blocks: row for blocks, row in found.items() if row.val is None}
    assert candidates.best(beyond, BUDGET, 4) == [network(2)]  # 10 % too slow is nearer than 50 % too large


def test_the_overshoot_is_the_largest_share() -> None:
    assert candidates.overshoot({"tflite_bytes": 150, "p50_ms": 2.5}, BUDGET) == 0.5
    assert candidates.overshoot({"tflite_bytes": 150, "p50_ms": 2.5}, Budget(max_p50_ms=2.0)) == 0.25
    assert candidates.overshoot({"tflite_bytes": 100, "p50_ms": 2.0}, BUDGET) == 0


def row(number: int, auc: float | None, size: int = 10, *, held: bool = True) -> dict[str, Any]:
    return {"number": number, "held": held, "measured": auc and {"auc": auc, "tflite_bytes": size, "p50_ms": 1.0}}


def test_the_finalist_to_build() -> None:
    assert result.choose([row(1, 0.8), row(2, 0.9, held=False), row(3, 0.85)])[0] == 3
    assert result.choose([row(1, 0.8, 20), row(2, 0.8, 19)])[0] == 2
    number, why = result.choose([row(1, 0.8, held=False), row(2, None, held=False)])
    assert number == 1
    assert why.startswith("none keeps the budget")
    assert result.choose([row(1, None)]) == (None, "no finalist was measured")


def test_a_file_cut_off_by_a_kill_loses_its_last_line(tmp_path: Path) -> None:
    file = tmp_path / "candidates.jsonl"
    assert candidates.num_known(file) == 0
    assert candidates._read(file, "basis") == {}
    line = json.dumps({"blocks": to_table(BLOCKS), **dataclasses.asdict(judged(0.75, 10))})
    with file.open("a") as opened:
        opened.write(line + "\n" + line[:30])
    assert candidates._read(file, "basis") == {BLOCKS: judged(0.75, 10)}
    assert candidates.num_known(file) == 1
    with pytest.raises(UserError, match="another supernet or latency table"):
        candidates._read(file, "other")


def test_work_ends_when_the_time_is_up() -> None:
    with TimedProgress(Progress(), until=0.0).task("supernet", 10) as task, pytest.raises(SearchError) as told:
        task.advance(1)
    assert "out of time in the task supernet" in str(told.value)
    assert "--resume" in str(told.value)


# Recipes


def made(**tables: Any) -> recipe.Recipe:
    table = {
        **{"name": "x", "data": {"name": "synthetic_cells", "image_size": 32}},
        **{"distill": {"student": "blocks"}, "budget": {"max_tflite_bytes": 50_000}},
    }
    return recipe.from_table({**table, **tables})


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"nas": {"kernels": [3, 4]}}, "odd ones"),
        ({"nas": {"depths": [0]}}, "never left out"),
        ({"nas": {"widths": []}}, "at least one value"),
        ({"nas": {"expansions": [3, 3]}}, "each at most once"),
        ({"nas": {"sample_size": 33}}, "at most nas.population, 32"),
        ({"nas": {"depth": [1]}}, 'did you mean "depths"'),
        ({"distill": {"student": "mobilenet_v2"}}, 'set distill.student = "blocks"'),
        ({"distill": {"student": "blocks", "mode": "live"}}, 'set distill.mode = "stored"'),
        ({"prune": {"method": "channel"}}, 'set prune.method = "none"'),
        ({"budget": {}}, "set budget.max_tflite_bytes"),
    ],
)
def test_what_cannot_be_searched_is_named(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        check(made(**tables))
    assert words in str(refused.value)


TINY = """
num_threads = 1
[data]
name = "synthetic_cells"
image_size = 32
num_calibration_samples = 32
[teacher]
model = "resnet_small"
width_multiplier = 0.25
[teacher.training]
epochs = 1
[distill]
student = "blocks"
width_multiplier = 1.0
num_views = 1
[distill.blocks]
stem_channels = 8
channels = [8, 16]
depths = [1, 1]
kernels = [3, 3]
expansions = [2, 2]
strides = [2, 2]
[distill.training]
epochs = 2
[quantize]
variants = ["fp32", "int8"]
[benchmark]
num_processes = 2
num_runs = 20
[budget]
max_tflite_bytes = 1_000_000
[nas]
widths = [1.0]
depths = [1, 2]
kernels = [3]
expansions = [2, 3]
num_candidates = 8
population = 3
sample_size = 2
num_finalists = 2
finetune_epochs = 1
table_processes = 1
num_val_images = 64
num_batchnorm_images = 64
[nas.training]
epochs = 1
"""


def edgekd(arguments: list[str]) -> tuple[int, str]:
    """A command in a process of its own: another test may have set TensorFlow to other threads here."""
    done = subprocess.run([sys.executable, "-m", "edgekd", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_small_search_from_end_to_end(tmp_path: Path) -> None:
    """Its winner is what a build of best.toml measures; a second call goes on from what is there, equally."""
    file, out, cache = tmp_path / "tiny.toml", tmp_path / "out", tmp_path / "cache"
    file.write_text(TINY)
    common = ["nas", str(file), "--out", str(out), "--cache-dir", str(cache), "-q"]
    first, said = edgekd(common)
    assert first == 0, said
    found = json.loads((out / "nas.json").read_text())
    assert found["space"]["size"] == 16
    assert 1 <= len(found["candidates"]) <= 8
    assert found["candidates"][0]["blocks"]["depths"] == [1, 1]  # the evolution starts with the smallest
    assert [row["state"] for row in found["finalists"]] == ["complete", "complete"]
    assert {path.name for path in out.iterdir()} == {
        *("candidates.jsonl", "nas.json", "nas.md", "nas.svg", "nas.png", "best.toml"),
        *("finalist1.h5", "finalist2.h5"),
    }
    again, said = edgekd(common)
    assert again == 2
    assert "--resume goes on with them" in said
    known = (out / "candidates.jsonl").read_text()
    # Below what the smallest needs: nothing holds, the nearest is measured and kept.
    tight, said = edgekd([*common, "--resume", "--set", "budget.max_tflite_bytes=1000"])
    assert tight == 1, said
    assert "none keeps the budget" in said
    assert (out / "candidates.jsonl").read_text().startswith(known)  # what was judged before stays
    rest, said = edgekd([*common, "--resume"])
    assert rest == 0, said
    repeated = json.loads((out / "nas.json").read_text())
    assert repeated["candidates"] == found["candidates"]
    chosen = repeated["finalists"][repeated["chosen"] - 1]
    best = tomllib.loads((out / "best.toml").read_text())
    assert best["distill"]["training"]["epochs"] == 1
    command = ["build", str(out / "best.toml"), "--out", str(tmp_path / "run"), "--cache-dir", str(cache), "-q"]
    built, said = edgekd(command)
    assert built in (0, 1), said
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    shipped = next(model for model in report["models"] if model["shipped"])
    assert shipped["tflite_bytes"] == chosen["measured"]["tflite_bytes"]
    assert shipped["val"]["auc"] == pytest.approx(chosen["measured"]["auc"])
