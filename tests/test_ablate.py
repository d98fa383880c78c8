"""The ablation: what a cell changes, what is compared with what, and a tiny one from end to end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_build import TINY, make_images

from edgekd import ablate, cli, recipe
from edgekd.cache import Cache
from edgekd.chains import Chain
from edgekd.errors import OutputError, UserError
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


def test_the_help_names_every_method() -> None:
    told = cli.main.commands["ablate"].help or ""
    listed = re.sub(r"\(.*?\)", "", told.split("Methods:")[1].split(".")[0])
    assert [name.strip() for name in listed.split(",")] == list(ablate.METHODS)


def test_a_colon_takes_the_first_seeds() -> None:
    assert ablate._plan(["kd", "none", "mutual:2"], [4, 7, 1]) == {"none": [4, 7, 1], "kd": [4, 7, 1], "mutual": [4, 7]}


@pytest.mark.parametrize(
    ("methods", "seeds", "message"),
    [
        (["kdd"], [0, 1], 'unknown method "kdd"; did you mean "kd"'),
        (["kdd:2"], [0, 1], 'unknown method "kdd"; did you mean "kd"'),
        (["kd"], [0], "seeds 0: at least two, all different"),
        (["kd"], [1, 1], "seeds 1, 1: at least two, all different"),
        (["kd"], [0, -1], "none below 0"),
        (["kd"], [], "seeds none: at least two"),
        (["mutual:1"], [0, 1, 2], 'method "mutual:1": after the colon, how many of the 3 seeds: at least 2'),
        (["mutual:4"], [0, 1, 2], 'method "mutual:4": after the colon'),
        (["mutual:"], [0, 1, 2], 'method "mutual:": after the colon'),
        (["none:2", "kd"], [0, 1, 2], "none is run from every seed"),
        (["kd", "kd:2"], [0, 1, 2], 'method "kd" is named twice'),
        (["none"], [0, 1], "name a method beside none; known: attention, "),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    methods: list[str], seeds: list[int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        ablate.ablate(base(), methods, seeds, tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_nothing_has_does_not_choose(tmp_path: Path) -> None:
    chosen = recipe.load("quickstart")
    with pytest.raises(UserError, match='choose by "aux": allowed for multi-class data: auc, top1, macro_recall'):
        ablate.ablate(chosen, ["kd"], [0, 1], tmp_path, cache=Cache(tmp_path / "cache"), choose_by="aux")


def test_a_file_is_no_folder_of_results(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match=r"taken.*name another folder with --out"):
        ablate.ablate(base(), ["kd"], [0, 1], tmp_path / "taken", cache=Cache(tmp_path / "cache"))


def test_what_cells_share_is_made_once_and_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[list[tuple[str, str]]] = []

    def note(chains: list[Chain], cache_root: Path, **_: object) -> None:
        waves.append([(chain.title, chain.until) for chain in chains])

    monkeypatch.setattr(ablate, "run_chains", note)
    done = "kd, seed 0"
    monkeypatch.setattr(ablate, "_look_up", lambda chain, cache: ({}, []) if chain.title == done else None)
    names = ("none", "kd", "dkd", "attention", "self")
    cells = [ablate.Cell(name, seed, ablate.variant(base(), name, seed)) for seed in (0, 1) for name in names]
    ablate._train(cells, Cache(tmp_path), 2, tmp_path / "cells.jsonl")
    teacher, logits, trained = waves
    assert teacher == [("teacher", "teacher")]
    assert logits == [(f"teacher's logits, seed {seed}", "teacher_logits") for seed in (0, 1)]
    wanted = [f"{name}, seed {seed}" for seed in (0, 1) for name in names]
    assert trained == [(title, "verify") for title in wanted if title != done]


def test_known_seconds_outlive_a_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "cells.jsonl"
    assert ablate._known_seconds(log) == {}
    log.write_text(
        '{"key": "a", "seconds_per_epoch": 2.0}\n{"key": "b", "seco\n{"key": "a", "seconds_per_epoch": 3.0}\n'
    )
    assert ablate._known_seconds(log) == {"a": 3.0}


def test_more_threads_than_processors_are_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    ablate._warn_of_crowding(1, 2)
    ablate._warn_of_crowding(4, 1)  # one job is no affair of the jobs
    assert caplog.messages == []
    ablate._warn_of_crowding(2, 2)
    assert "2 cells at a time on 2 threads each, and 2 processors" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_ablation_that_was_killed_goes_on_and_says_what_it_found(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for seed, (split, count) in enumerate({"train": 96, "val": 32, "test": 40}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(tmp_path / "stripes.npz", **arrays)
    changes = {**TINY, "distill.student": "ds_cnn", "distill.width_multiplier": 0.25, "teacher.training.epochs": 1}
    changes |= {"distill.training.epochs": 1, "distill.finetune_epochs": 1}
    command = [sys.executable, "-m", "edgekd", "ablate", "--data", str(tmp_path / "stripes.npz")]
    command += ["--methods", "mutual:2", "--seeds", "0,1,5", "--out", str(tmp_path / "out"), "--jobs", "2"]
    command += ["--cache-dir", str(tmp_path / "cache")]
    command += [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    said = []
    while not any(line.endswith("done, 1 of 5\n") for line in said):
        said.append(killed.stderr.readline())
        assert said[-1], said
    killed.kill()
    killed.communicate()

    again, cached = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert (again.returncode, cached.returncode) == (0, 0), again.stderr + cached.stderr
    first = said[-1].split(maxsplit=1)[1].partition(":")[0]
    assert f"{first}: done" not in again.stderr  # what had been done is not done again
    assert re.search(r"mutual, seed 1: done, \d of [1-4]\n", again.stderr)
    assert (cached.stderr, cached.stdout) == ("", again.stdout)  # the third call trains nothing

    document = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [(row["method"], row["seeds"]) for row in document["methods"]] == [
        ("none", [0, 1, 5]),
        ("mutual", [0, 1]),
    ]
    assert [(row["method"], row["seed"]) for row in document["cells"]] == [
        *(("none", 0), ("mutual", 0), ("none", 1), ("mutual", 1), ("none", 5)),
    ]
    # Known from the call that trained it; the other of the two cells may have been killed between training and verify.
    seconds = [row["seconds_per_epoch"] for row in document["cells"]]
    assert len([value for value in seconds if value]) >= 4
    assert len({row["key"] for row in document["cells"]}) == 5  # each a training of its own
    assert (document["dataset"]["name"], document["dataset"]["num_test"]) == ("stripes", 40)
    assert document["recipe"]["num_threads"] == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("ablation.json", "ablation.md", "ablation.svg", "ablation.png", "cells.jsonl"),
    }
    sentence = document["sentence"]
    for text in (again.stdout, (tmp_path / "out" / "ablation.md").read_text()):
        assert sentence[1:] in text
        assert "| mutual | 2 |" in text


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
