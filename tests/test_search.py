"""The search: its space, its study, its processes, its choice, and a small one from end to end."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

optuna = pytest.importorskip("optuna", reason="the extra search is not installed")

from edgekd import recipe  # noqa: E402
from edgekd.budget import Baseline  # noqa: E402
from edgekd.cache import Cache  # noqa: E402
from edgekd.children import Child  # noqa: E402
from edgekd.cli import main  # noqa: E402
from edgekd.errors import ModelError, RecipeError, SearchError, UserError  # noqa: E402
from edgekd.ladder import Candidate  # noqa: E402
from edgekd.ladder import Trial as Judged  # noqa: E402
from edgekd.options import to_table  # noqa: E402
from edgekd.progress import LineProgress  # noqa: E402
from edgekd.search import result, space, study, trial, workers  # noqa: E402

WIDTH = {"distill.width_multiplier": {"low": 0.25, "high": 1.0, "step": 0.25}}
STUDENT = {"distill.student": {"choices": ["ds_cnn", "resnet8"]}}


def made(**search: Any) -> recipe.Recipe:
    return recipe.from_table(
        {
            "name": "tiny",
            "num_threads": 1,
            "data": {"name": "synthetic_cells", "image_size": 32},
            "search": {"space": {**STUDENT, **WIDTH}, **search},
        }
    )


def test_a_dimension_is_checked_where_it_stands() -> None:
    for key, dimension, words in (
        ("distill.widht_multiplier", {"low": 0.1, "high": 1.0}, 'unknown key "widht_multiplier"; did you mean "width'),
        ("distill.student", {"choices": ["mobilenet_v9"]}, "mobilenet_v9"),
        ("distill.temperature", {"low": -1.0, "high": 4.0}, "distill.temperature = -1.0: allowed: above 0"),
        ("verify.margin_pp", {"low": 1.0, "high": 4.0}, "verify is the same for all trials"),
        ("seed.x", {"low": 1, "high": 4}, 'nothing can stand at "x"'),
    ):
        with pytest.raises(RecipeError) as refused:
            space.check(made(space={key: dimension}))
        assert words in str(refused.value)
        assert f'search.space."{key}"' in str(refused.value)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"objectives": ["tflite_bytes"]}, "the smallest model wins"),
        ({"objectives": ["auc", "auc"]}, "each at most once"),
        ({"early_stopping": "median"}, "needs one objective"),
        ({"sampler": "tpee"}, 'did you mean "tpe"?'),
        ({"space": {"seed": {"low": 1.0}}}, "low and high"),
        ({"space": {"seed": {"choices": [1, 1]}}}, "each at most once"),
        ({"space": {"seed": {"choices": [1], "low": 0.0, "high": 1.0}}}, "either choices, or low and high"),
        ({"space": {"seed": {"low": 0.0, "high": 8.0, "log": True}}}, "log needs low above 0"),
    ],
)
def test_what_contradicts_itself_is_refused(search: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=None) as refused:
        made(**search)
    assert words in str(refused.value)


def test_an_empty_space_says_what_to_write() -> None:
    with pytest.raises(RecipeError, match=r"search\.space is empty"):
        space.check(made(space={}))


def test_every_trial_is_timed_so_that_the_target_must_be() -> None:
    table = {**to_table(made()), "benchmark": {"target": "raspberry-pi"}}
    with pytest.raises(RecipeError, match='latency on target "raspberry-pi"'):
        space.check(recipe.from_table(table))


def test_the_grid_has_every_value_once() -> None:
    assert space.grid(made().search.space) == {
        "distill.student": ["ds_cnn", "resnet8"],
        "distill.width_multiplier": [0.25, 0.5, 0.75, 1.0],
    }
    assert space.size(made().search.space) == 8
    whole = made(space={"distill.num_views": {"low": 2, "high": 4}}).search.space
    assert space.grid(whole) == {"distill.num_views": [2, 3, 4]}
    continuum = made(space={"distill.temperature": {"low": 1.0, "high": 4.0}}).search.space
    assert space.size(continuum) is None
    with pytest.raises(RecipeError, match="needs choices, or a step"):
        space.grid(continuum)


def test_a_draw_makes_a_recipe_without_a_search() -> None:
    trial = optuna.trial.FixedTrial({"distill.student": "resnet8", "distill.width_multiplier": 0.5})
    drawn = space.suggest(trial, made().search.space)
    changed = space.changed(made(), drawn)
    assert (changed.distill.student, changed.distill.width_multiplier) == ("resnet8", 0.5)
    assert changed == recipe.from_table(
        {
            "name": "tiny",
            "num_threads": 1,
            "data": {"name": "synthetic_cells", "image_size": 32},
            "distill": {"student": "resnet8", "width_multiplier": 0.5},
        }
    )


def test_whole_numbers_are_drawn_whole() -> None:
    trial = optuna.trial.FixedTrial({"distill.num_views": 3})
    assert space.suggest(trial, made(space={"distill.num_views": {"low": 2, "high": 4}}).search.space) == {
        "distill.num_views": 3
    }


def with_space(space_: dict[str, Any], **tables: Any) -> recipe.Recipe:
    table = {"name": "tiny", "data": {"name": "synthetic_cells", "image_size": 32}, "search": {"space": space_}}
    return recipe.from_table({**table, "distill": {"student": "ds_cnn", "width_multiplier": 0.5}, **tables})


def test_ratios_of_channels_and_widths_in_bits_are_dimensions() -> None:
    space_ = {
        "prune.layer_channel_ratios.*": {"low": 0.0, "high": 0.5, "step": 0.25},
        "quantize.float_layers.logits": {"choices": [True, False]},
    }
    cut = {"method": "channel", "keep_macs": 1.0}
    base = with_space(space_, prune=cut, quantize={"float_layers": ["stem"]})
    space.check(base)
    drawn = {"prune.layer_channel_ratios.*": 0.25, "quantize.float_layers.logits": True}
    assert space.suggest(optuna.trial.FixedTrial(drawn), base.search.space) == drawn
    made_ = space.changed(base, drawn)
    assert made_.prune.layer_channel_ratios == {"*": 0.25}
    assert made_.quantize.float_layers == ("stem", "logits")
    assert space.changed(base, {"quantize.float_layers.stem": False}).quantize.float_layers == ()


@pytest.mark.parametrize(
    ("key", "prune", "words"),
    [
        ("nowhere_*", {"method": "channel", "keep_macs": 1.0}, '"nowhere_*" fits no group of channels; there are: '),
        ("*", {"method": "none"}, 'prune.method = "none" removes no channels; set prune.method = "channel"'),
        ("*", {"method": "channel", "keep_macs": 0.05}, "prune.keep_macs = 0.05 cannot be reached"),
    ],
)
def test_ratios_that_cannot_be_are_refused(key: str, prune: dict[str, Any], words: str) -> None:
    space_ = {f"prune.layer_channel_ratios.{key}": {"low": 0.0, "high": 0.5}}
    with pytest.raises(RecipeError) as refused:
        space.check(with_space(space_, prune=prune))
    assert words in str(refused.value)


def test_a_name_in_a_list_is_there_or_not() -> None:
    with pytest.raises(RecipeError, match="true or false, whether the list has"):
        space.check(with_space({"quantize.float_layers.logits": {"low": 0.0, "high": 1.0}}))


def test_the_front_by_hand() -> None:
    """b is beaten by a in both, d costs more than c for the same accuracy; None is no point."""
    figures = [
        {"auc": 0.95, "tflite_bytes": 100},
        {"auc": 0.90, "tflite_bytes": 200},
        {"auc": 0.97, "tflite_bytes": 300},
        {"auc": 0.97, "tflite_bytes": 301},
        None,
        {"auc": 0.95, "tflite_bytes": 100},
    ]
    assert result.pareto(figures, ("auc", "tflite_bytes")) == [True, False, True, False, False, True]


def rows(*points: tuple[float, float, float, bool]) -> list[dict[str, Any]]:
    return [
        {"number": number, "held": held, "measured": {"auc": auc, "tflite_bytes": size, "p50_ms": time_}}
        for number, (auc, size, time_, held) in enumerate(points)
    ]


WRITTEN = {"auc": 0.95, "tflite_bytes": 100, "p50_ms": 1.0}
THREE = ("auc", "tflite_bytes", "p50_ms")


def test_the_choice_is_the_cheapest_that_is_as_accurate() -> None:
    # Products of the costs: 40, 32, 25; the last is less accurate than the recipe as written.
    found = rows((0.96, 50, 0.8, True), (0.95, 40, 0.8, True), (0.94, 50, 0.5, True))
    assert result.choose(found, WRITTEN, THREE)[0] == 1


def test_the_choice_keeps_the_budget_first() -> None:
    found = rows((0.99, 10, 0.1, False), (0.95, 90, 0.9, True))
    assert result.choose(found, WRITTEN, THREE)[0] == 1
    number, why = result.choose(rows((0.96, 10, 0.1, False)), WRITTEN, THREE)
    assert number == 0
    assert why.startswith("none keeps the budget")


def test_the_choice_where_none_is_as_accurate() -> None:
    number, why = result.choose(rows((0.90, 10, 0.1, True), (0.94, 90, 0.9, True)), WRITTEN, THREE)
    assert (number, why) == (1, "the highest auc on val (none has as much as the recipe as written)")
    assert result.choose([], WRITTEN, THREE) == (None, "no trial gave a model")


def test_the_choice_is_as_accurate_in_every_accuracy_that_is_wanted() -> None:
    found = rows((0.96, 40, 0.4, True), (0.95, 90, 0.9, True))
    for row, accuracy in zip(found, (0.80, 0.90), strict=True):
        row["measured"]["accuracy"] = accuracy
    number, why = result.choose(found, {**WRITTEN, "accuracy": 0.85}, ("auc", "accuracy", "tflite_bytes"))
    assert (number, why) == (
        1,
        "no less auc and no less accuracy on val than the recipe as written, at the smallest cost",
    )


def test_a_study_of_another_recipe_is_refused(tmp_path: Path) -> None:
    where = str(tmp_path / "study.jsonl")
    study.open_study(made(), where, create=True)
    study.open_study(made(sampler="random"), where, create=False)  # the sampler may change
    other = dataclasses.replace(made(), seed=1)
    with pytest.raises(UserError, match="a study of another recipe"):
        study.open_study(other, where, create=True)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        study.open_study(made(), str(tmp_path / "none.jsonl"), create=False)


def test_a_storage_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        study.open_study(made(), str(tmp_path / "file" / "study.jsonl"), create=True)
    with pytest.raises(UserError, match="cannot be used"):
        study.open_study(made(), "nosuchdatabase://host/study", create=True)


def test_the_trial_of_a_killed_process_is_given_up_and_no_other(tmp_path: Path) -> None:
    """Another process draws a trial and is killed; a trial of this process runs on."""
    where = str(tmp_path / "study.jsonl")
    opened = study.open_study(made(), where, create=True)
    mine = opened.ask()
    study.sign(mine)
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); import test_search as t;"
        "o = t.study.open_study(t.made(), sys.argv[1], create=False); t.study.sign(o.ask());"
        "print('drawn', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, where, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "drawn\n"
        assert study.give_up_dead(opened) == 0
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert study.give_up_dead(opened) == 1
    assert [trial.state.name for trial in study.trials(opened)] == ["RUNNING", "FAIL"]
    assert study.trials(opened)[1].user_attrs[study.PROBLEM] == study.DIED


def test_processes_that_start_before_one_has_drawn_have_seeds_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three start at once, and the first alone draws and ends. The fourth is number 1 + 2 of those drawn and at work.

    So is the fifth, when the fourth has drawn and ended: a count alone does not tell them apart.
    """
    opened = study.open_study(made(), str(tmp_path / "study.jsonl"), create=True)
    opened.set_user_attr(study.AS_WRITTEN, {"measured": {}, "limits": []})
    requests: list[dict[str, Any]] = []

    def start(module: str, title: str, request: dict[str, Any], events: Any) -> Child:
        requests.append({**request, "title": title})
        child = Child(title, None)  # type: ignore[arg-type]
        if len(requests) in (1, 4):  # each of these draws, and ends at once
            opened.tell(opened.ask(), [0.5, 1.0, 1.0])
            events.put((child, None))
        return child

    monkeypatch.setattr("edgekd.children.start", start)
    monkeypatch.setattr("edgekd.children.answer", lambda child: {})
    monkeypatch.setattr("edgekd.children.end", lambda children: None)
    workers.run_trials(made(), opened, "unused", tmp_path, workers=3, num_trials=None, seconds=0.5, seed=0)
    assert [row["title"] for row in requests[:5]] == ["worker 1", "worker 2", "worker 3", "worker 1", "worker 1"]
    assert len({row["seed"] for row in requests}) == len(requests)


def test_processes_that_die_at_once_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = study.open_study(made(), str(tmp_path / "study.jsonl"), create=True)
    opened.set_user_attr(study.AS_WRITTEN, {"measured": {}, "limits": []})
    monkeypatch.setattr("edgekd.children.sys.executable", "/bin/false")
    with pytest.raises(SearchError, match="3 processes in a row ended without a trial"):
        workers.run_trials(made(), opened, "unused", tmp_path, workers=1, num_trials=5, seconds=None, seed=0)


def test_early_stopping_ends_the_training_of_the_student() -> None:
    """The median of two finished trials is 0.8 at each epoch; a trial at 0.5 is stopped after the warm-up steps."""

    search = made(objectives=["auc"], early_stopping="median", num_startup_trials=2)
    opened = optuna.create_study(direction="maximize", pruner=study._pruner(optuna, search))
    for _ in range(2):
        good = opened.ask()
        for epoch in range(6):
            good.report(0.8, epoch)
        opened.tell(good, 0.8)
    drawn = opened.ask()
    reached = []
    progress = trial.WatchedProgress(drawn, optuna.TrialPruned)

    def train() -> None:
        with progress.task("student", 6) as task:
            for epoch in range(6):
                reached.append(epoch)
                task.end_epoch({"epoch": epoch, "val_auc": 0.5})

    with pytest.raises(optuna.TrialPruned):
        train()
    assert reached == [0, 1, 2]
    with progress.task("teacher resnet_small", 6) as task:
        task.end_epoch({"epoch": 0, "val_auc": 0.1})  # of no concern


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
student = "ds_cnn"
num_views = 1
[distill.training]
epochs = 1
[quantize]
variants = ["fp32", "int8"]
[benchmark]
num_processes = 2
num_runs = 20
[search]
sampler = "grid"
[search.space."distill.width_multiplier"]
choices = [0.25, 0.5]
"""


@pytest.mark.slow
def test_a_small_search_from_end_to_end(tmp_path: Path) -> None:
    """A grid of two is searched whole, goes on where it was, and its winner is what a build of it measures."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    out = tmp_path / "out"
    common = ["search", str(file), "--out", str(out), "--cache-dir", str(tmp_path / "cache"), "-q"]
    first = CliRunner().invoke(main, [*common, "--trials", "1"])
    assert first.exit_code == 0, first.output
    again = CliRunner().invoke(main, common)
    assert again.exit_code == 2
    assert "holds 1 trials of this recipe: --resume goes on" in again.output
    started = time.monotonic()
    rest = CliRunner().invoke(main, [*common, "--resume"])
    assert rest.exit_code == 0, rest.output
    found = json.loads((out / "search.json").read_text())
    assert sorted(row["changes"]["distill.width_multiplier"] for row in found["trials"]) == [0.25, 0.5]
    assert all(row["state"] == "complete" for row in found["trials"])
    assert {path.name for path in out.iterdir()} == {
        *("study.jsonl", "search.json", "search.md", "search.svg", "search.png", "best.toml")
    }
    chosen = found["trials"][found["chosen"]]
    # In a process of its own: another test may have set TensorFlow to other threads here.
    command = [sys.executable, "-m", "edgekd", "build", str(out / "best.toml"), "--out", str(tmp_path / "run"), "-q"]
    built = subprocess.run([*command, "--cache-dir", str(tmp_path / "cache")], capture_output=True, text=True)
    assert built.returncode in (0, 1), built.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    shipped = next(model for model in report["models"] if model["shipped"])
    assert shipped["tflite_bytes"] == chosen["measured"]["tflite_bytes"]
    assert shipped["val"]["auc"] == pytest.approx(chosen["measured"]["auc"])
    assert time.monotonic() - started < 300


def test_a_search_without_an_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY.replace('sampler = "grid"', 'sampler = "tpe"'))
    told = CliRunner().invoke(main, ["search", str(file), "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "give --trials N or --budget-minutes N" in told.output


def test_a_trial_makes_what_would_be_shipped_and_no_more() -> None:
    base = dataclasses.replace(
        made(),
        distill=dataclasses.replace(made().distill, train_alone=True),
        quantize=dataclasses.replace(made().quantize, variants=("fp32", "fp16", "dynamic", "int8", "int8_io")),
    )
    found = trial.without_more(base)
    assert (found.quantize.variants, found.distill.train_alone) == (("fp32", "int8", "int8_io"), False)
    alone = dataclasses.replace(base, distill=dataclasses.replace(base.distill, mode="self"))
    assert trial.without_more(alone).distill.train_alone is True  # it is its own teacher


def test_a_p50_is_that_of_the_recipe_as_written_times_the_ratio() -> None:
    baseline = Baseline(Path("file"), p50_ms=0.5)
    assert baseline.latency({"ratio": 0.5, "ci95": [0.25, 0.75]}) == {"p50_ms": 0.25, "p50_ci95_ms": [0.125, 0.375]}
    assert baseline.latency({"ratio": 2.0, "ci95": None}) == {"p50_ms": 1.0, "p50_ci95_ms": None}


def test_the_file_that_trials_are_timed_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken from the cache where it is what was measured, and made where it is not."""
    remade = tmp_path / "remade.tflite"
    monkeypatch.setattr(trial, "_shipped", lambda *_: remade)
    (tmp_path / "a.tflite").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    written = {"measured": {"p50_ms": 0.5}, "file": "a.tflite", "sha256": sha256}
    for change, expected in (
        ({}, tmp_path / "a.tflite"),
        ({"file": "elsewhere/a.tflite"}, remade),
        ({"sha256": sha256[::-1]}, remade),
    ):
        found = trial.baseline_of({**written, **change}, made(), Cache(tmp_path), LineProgress())
        assert found == Baseline(expected, 0.5)


def test_a_trial_whose_time_was_up_has_not_failed(tmp_path: Path) -> None:
    recipe_ = made()
    opened = study.open_study(recipe_, str(tmp_path / "study.jsonl"), create=True)
    for reason in (study.OUT_OF_TIME, study.DIED):
        drawn = opened.ask()
        drawn.set_user_attr(study.PROBLEM, reason)
        opened.tell(drawn, state=optuna.trial.TrialState.FAIL)
    found = result.document(recipe_, opened)
    assert [row["state"] for row in found["trials"]] == ["out of time", "failed"]
    assert "Trials: 1 out of time, 1 failed" in result.markdown(found)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_learns_what_cannot_be_made(sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrower the better, and below 0.6 there is nothing: 5 of 9 widths.

    TPE that learns from the others alone draws 17 to 20 of the last 20 there; one that learns of these too, fewer than
    chance would.
    """

    def measure(candidate: Candidate, *_: Any) -> Judged:
        width = candidate.recipe.distill.width_multiplier
        if width < 0.6:
            raise ModelError("too narrow")
        return Judged(candidate, {"auc": 1 - width / 2, "tflite_bytes": 1000 * width, "p50_ms": width}, ())

    monkeypatch.setattr(trial, "measure", measure)
    width = {"low": 0.1, "high": 0.9, "step": 0.1}
    recipe_ = made(sampler=sampler, num_startup_trials=8, space={"distill.width_multiplier": width})
    opened = study.open_study(recipe_, str(tmp_path / "study.jsonl"), create=True, seed=0)
    baseline = Baseline(tmp_path, 1.0)
    opened.optimize(lambda drawn: trial.objective(drawn, recipe_, Cache(tmp_path), baseline), n_trials=40)
    rows = result.document(recipe_, opened)["trials"]
    assert {row["state"] for row in rows} == {"complete", "failed"}
    failed = [row for row in rows if row["state"] == "failed"]
    assert all((row["measured"], row["held"], row["problem"]) == (None, False, "too narrow") for row in failed)
    assert sum(row["state"] == "failed" for row in rows[-20:]) < 20 * 5 / 9
    assert result.choose(rows, None, recipe_.search.objectives)[0] in {row["number"] for row in rows if row["measured"]}
