"""The ablation: what a cell changes, what is compared with what, and a tiny one from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_build import TINY, make_images

from edgekd import ablate, recipe
from edgekd.cache import Cache
from edgekd.errors import UserError
from edgekd.losses import LOSSES
from edgekd.recipe import Recipe


def base() -> Recipe:
    return recipe.load("pneumoniamnist", {"seed": 7, "data.path": "x.npz"})


@pytest.mark.parametrize("method", ablate.METHODS)
def test_a_cell_changes_the_method_the_seed_and_nothing_else_of_the_student(method: str) -> None:
    cell, original = ablate.variant(base(), method, 3), base()
    assert (cell.seed, cell.teacher.seed) == (3, 7)
    assert cell.distill.training == original.distill.training
    assert cell.distill.views == original.distill.views
    assert cell.distill.width_multiplier == original.distill.width_multiplier
    assert (cell.prune.method, cell.distill.train_alone) == ("none", False)
    assert set(cell.distill.loss) <= set(LOSSES.names())
    assert (cell.distill.hard_loss_weight == 1.0) == (method == "none")


def test_a_teacher_with_a_seed_of_its_own_keeps_it() -> None:
    own = recipe.load("pneumoniamnist", {"seed": 7, "data.path": "x.npz", "teacher.seed": 5})
    assert ablate.variant(own, "kd", 3).teacher.seed == 5


def cell(method: str, seed: int, top1: float, auc: float) -> dict[str, Any]:
    figures = {"top1": top1, "auc": auc, "macro_recall": 0.5}
    both = {"val": figures, "test": figures}
    return {"method": method, "seed": seed, "seconds_per_epoch": 2.0, "student_fp32": both, "student_int8": both}


def test_differences_are_paired_by_seed() -> None:
    # Gains 0.02, 0.03, 0.04: mean 0.03, standard deviation 0.01, over sqrt(3); t(0.975, 2) = 4.3027.
    cells = [cell("none", seed, 0.8 + 0.05 * seed, 0.9) for seed in range(3)]
    cells += [cell("kd", seed, 0.8 + 0.05 * seed + 0.02 + 0.01 * seed, 0.9) for seed in range(3)]
    row = ablate._compare("kd", cells)["student_int8"]["test"]
    assert row["top1"]["mean"] == pytest.approx(0.88)
    assert row["top1"]["sd"] == pytest.approx(0.06)
    assert row["top1"]["difference"] == pytest.approx(0.03)
    half = 4.3027 * 0.01 / 3**0.5
    assert row["top1"]["ci95"] == pytest.approx([0.03 - half, 0.03 + half], abs=1e-5)
    assert row["top1"]["verdict"] == "shown"
    assert (row["auc"]["difference"], row["auc"]["verdict"]) == (0.0, "not shown")


def test_val_chooses_and_test_is_told() -> None:
    rows = []
    for method, val_auc, test_gain in (("none", 0.90, 0.0), ("kd", 0.95, -0.01), ("dkd", 0.92, 0.05)):
        difference = {"mean": 0.8, "sd": 0.0, "difference": test_gain, "ci95": [test_gain, test_gain], "verdict": "x"}
        val = {"auc": {"mean": val_auc}}
        rows.append({"method": method, "student_fp32": {"val": val, "test": {"top1": difference, "auc": difference}}})
    found = ablate._verdict(rows, 3)
    assert found["chosen"] == "kd"  # although dkd is better on test
    assert found["sentence"].startswith("val chooses kd; against the student alone it gives on test, over 3 seeds, ")
    assert "top-1 -0.0100" in found["sentence"]
    assert ablate._verdict(rows[:1], 3)["sentence"].startswith("on val, no method was better")


def test_unknown_method_and_too_few_seeds_are_refused(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UserError, match='unknown method "kdd"; did you mean "kd"'):
        ablate.ablate(base(), ["kdd"], [0, 1], tmp_path, cache=cache)
    for seeds in ([0], [1, 1]):
        with pytest.raises(UserError, match="at least two, all different"):
            ablate.ablate(base(), ["kd"], seeds, tmp_path, cache=cache)


@pytest.mark.slow
def test_tiny_ablation_is_cached_and_says_what_it_found(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for seed, (split, count) in enumerate({"train": 96, "val": 32, "test": 40}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(tmp_path / "stripes.npz", **arrays)
    changes = {**TINY, "distill.training.epochs": 1, "distill.finetune_epochs": 0}
    command = [sys.executable, "-m", "edgekd", "ablate", "--data", str(tmp_path / "stripes.npz")]
    command += ["--methods", "attention,mutual,self", "--seeds", "0,1", "--out", str(tmp_path / "out")]
    command += ["--jobs", "2", "--cache-dir", str(tmp_path / "cache")]
    command += [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    first, again = (subprocess.run(command, capture_output=True, text=True, timeout=500, check=False) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "mutual, seed 1: done, " in first.stderr
    assert again.stderr == ""  # the second call trains nothing
    assert again.stdout == first.stdout
    document = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [row["method"] for row in document["methods"]] == ["none", "attention", "mutual", "self"]
    assert [(row["method"], row["seed"]) for row in document["cells"]][:5] == [
        *(("none", 0), ("attention", 0), ("mutual", 0), ("self", 0)),
        ("none", 1),
    ]
    assert all(row["seconds_per_epoch"] > 0 for row in document["methods"])  # known from the first call
    assert document["chosen"] in ablate.METHODS
    assert document["sentence"] in (tmp_path / "out" / "ablation.md").read_text()
    assert "| mutual |" in first.stdout


def test_a_method_that_makes_no_sense_for_the_task_is_refused_before_the_first_cell(tmp_path: Path) -> None:
    arrays = {}
    for split, count in {"train": 24, "val": 8, "test": 8}.items():
        arrays[f"{split}_images"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] >> np.arange(3)) % 2
    np.savez(tmp_path / "several.npz", **arrays)
    chosen = recipe.load("default", {"data.path": str(tmp_path / "several.npz")})
    with pytest.raises(UserError, match='"dkd" compares distributions over classes, and a multi-label task has none'):
        ablate.ablate(chosen, ["kd", "dkd"], [0, 1], tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert list((tmp_path / "out").iterdir()) == []
