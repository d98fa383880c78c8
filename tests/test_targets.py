"""One recipe for several targets: what is refused, what is kept, and the page; runs are made up by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from flatbuffer_models import dense_file
from reports import Document, document_by_hand

from edgekd import api, recipe, target, targets_build, targets_page
from edgekd.cache import Cache
from edgekd.cli import main
from edgekd.errors import ConversionError, DataError, OutputError, RecipeError, UserError
from edgekd.pipeline import Run
from edgekd.recipe import Recipe
from edgekd.run_report import Report
from edgekd.targets_build import recipes_for

PHONE, PI, MICRO = "host-as-phone-1t", "raspberry-pi", "microcontroller"
SMALL = 4000


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Whether TensorFlow Lite Micro is installed here does not matter.
    monkeypatch.setattr("edgekd.micro.require", lambda: "0")
    logger = logging.getLogger("edgekd")
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logger, "propagate", logger.propagate)


def quickstart(**changes: Any) -> Recipe:
    return recipe.load("quickstart", changes)


def report_of(for_it: Recipe) -> Document:
    """547 of 624 test images are right. For the microcontroller the second chain fits, and nothing is timed."""
    document = document_by_hand()
    profile = target.load(for_it.benchmark.target)
    document["gates"], document["budget"], document["target"] = [], None, None
    document["recipe"]["benchmark"]["target"] = for_it.benchmark.target
    shipped = document["models"][-1]
    if profile.figures != target.MEASURED:
        shipped["latency"] = []
    if profile.name == MICRO:
        shipped |= {"id": "student_int8_io", "file": "models/student_int8_io.tflite", "peak_rss_bytes": None}
        shipped |= {"input_type": "int8", "output_type": "int8", "tflite_bytes": 307_200}
        rows = [{"id": "max_arena_bytes", "limit": 196_608, "measured": 65_536, "held": True}]
        micro = {"version": "0.1", "num_images": 64, "num_different": 0, "largest_difference": 0.0}
        document["target"] = {
            **{"name": MICRO, "figures": "checked", "model": "student_int8_io", "limits": rows, "reasons": []},
            **{"forecasts": [], "micro": {**micro, "arena_bytes": 65_536}},
        }
        document["candidates"] = [{"model": "student_int8_io", "candidate": "as_written", "reason": "too large"}]
        document["candidates"][0] |= {"changes": {}, "measured": None, "limits": []}
        document["budget"] = {
            **{"model": "student_int8_io", "candidate": "macs_75", "place": 1, "measured": None, "limits": []},
            **{"changes": {"prune.keep_macs": 0.75}, "limits_when_tried": []},
        }
        document["recipe"]["prune"]["keep_macs"] = 0.75
    return document


def write_run(document: Document, out: Path) -> Run:
    (out / "models").mkdir(parents=True, exist_ok=True)
    (out / "log.jsonl").write_text('{"event": "run"}\n')
    (out / "report.json").write_text(json.dumps(document))
    shipped = document["models"][-1]
    (out / shipped["file"]).write_bytes(dense_file(np.ones((2, 3))))
    decided = np.array([0, 1] * 10)
    np.savez(out / "scores.npz", labels__test=decided, **{f"{shipped['id']}__test": np.eye(2)[decided]})
    return Run(out, Report(document), ())


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand in for the build of one target; ``change`` may alter its report, or raise."""

    def replace(change: Callable[[str, Document], None] = lambda *_: None) -> None:
        def build(for_it: Recipe, out: Path, **_: object) -> Run:
            document = report_of(for_it)
            change(out.name, document)
            return write_run(document, out)

        monkeypatch.setattr("edgekd.budget.build", build)

    return replace


def build(*names: str, out: str = "out", **changes: Any) -> targets_build.TargetRuns:
    return targets_build.build(quickstart(**changes), names, Path(out), cache=Cache(Path("cache")))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)])


# Each target


def test_each_target_gets_the_recipe_with_its_name() -> None:
    made = recipes_for(quickstart(**{"benchmark.num_runs": 50}), [PHONE, MICRO])
    assert [(profile.name, one.benchmark.target) for profile, one in made.items()] == [(PHONE, PHONE), (MICRO, MICRO)]
    assert all(
        one == quickstart(**{"benchmark.num_runs": 50, "benchmark.target": name.name}) for name, one in made.items()
    )


def own(path: Path, text: str = 'description = "mine"\n') -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("names", "changes", "kind", "message"),
    [
        ([], {}, UserError, "targets: name at least one"),
        ([PHONE, PHONE], {}, UserError, f'target "{PHONE}": there is a target "{PHONE}" already'),
        (["a/board.toml", "b/board.toml"], {}, UserError, 'target "b/board.toml": there is a target "board" already'),
        ([PHONE, "microcontroler"], {}, RecipeError, 'unknown target "microcontroler"; did you mean "microcontroller"'),
        ([PHONE, PI], {"budget.max_p50_ms": 1.0}, RecipeError, 'latency on target "raspberry-pi": the target is only'),
        ([PHONE, "slow.toml"], {}, RecipeError, 'limits.max_p50_ms = 5: with figures = "checked" nothing is timed'),
        ([PHONE, MICRO], {"quantize.variants": ["fp32", "int8"]}, RecipeError, "add it to quantize.variants"),
        ([PHONE, MICRO], {"quantize.mixed": "auto"}, RecipeError, 'quantize.mixed = "auto": benchmark.target ='),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    names: list[str], changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    for folder in "ab":
        own(Path(folder) / "board.toml")
    own(Path("slow.toml"), 'description = "d"\nfigures = "checked"\n[limits]\nmax_p50_ms = 5\n')
    with pytest.raises(kind) as caught:
        build(*names, **changes)
    assert message in str(caught.value)
    assert not Path("out").exists()


# What is written


def test_a_run_for_each_and_a_page(builds: Callable[..., None]) -> None:
    builds()
    made = build(PHONE, PI, MICRO)
    assert made.held
    assert (list(made.runs), made.problems, made.path) == ([PHONE, PI, MICRO], {}, Path("out"))
    assert {path.name for path in Path("out").iterdir()} == {
        *(PHONE, PI, MICRO, "targets.html", "targets.md", "targets.json"),
    }
    assert json.loads(Path("out/targets.json").read_text()) == made.comparison
    phone, pi, micro = made.comparison["targets"]
    assert [row["verdict"] for row in (phone, pi, micro)] == ["fits"] * 3
    # Wilson's interval of 547 of 624 (0.8766), by hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    assert phone["run"]["accuracy_ci95"] == pytest.approx([0.84847, 0.90013], abs=2e-5)
    assert (phone["run"]["n"], phone["run"]["tflite_bytes"], phone["run"]["p50_ms"]) == (624, 614_400, 0.03125)
    assert (phone["run"]["candidate"], phone["run"]["num_tried"]) == (None, 1)
    # Of a dense layer from three floats to two, five live at once.
    assert (phone["run"]["arena_bytes"], phone["run"]["arena_measured"]) == (5 * 4, False)
    assert phone["run"]["how"]["p50"] == "measured: host time on this machine, 1 thread, 3 fresh processes"
    assert pi["run"]["how"]["p50"].startswith("not timed: the target is only checked")
    assert phone["run"]["how"]["arena"].startswith("reckoned from the file")
    run = micro["run"]
    assert (run["candidate"], run["num_tried"], run["changes"]) == ("macs_75", 2, {"prune.keep_macs": 0.75})
    assert (run["model"], run["takes"], run["p50_ms"]) == ("student_int8_io", "int8 in, int8 out", None)
    assert (run["arena_bytes"], run["how"]["arena"].partition(":")[0]) == (65_536, "measured")
    assert "answered 64 of 64 of them" in run["how"]["accuracy"]
    assert run["limits"] == [
        {"id": "max_arena_bytes", "limit": 196_608, "measured": 65_536, "held": True, "of": "target"}
    ]
    # Every prediction is the label in each, so that none differs.
    assert [(pair["run"], pair["against"], pair["estimate"]) for pair in made.comparison["paired"]] == [
        *((PI, PHONE, 0.0), (MICRO, PHONE, 0.0)),
    ]
    keys = {row["key"]: row["values"] for row in made.comparison["recipe_differences"]}
    assert keys["benchmark.target"] == [PHONE, PI, MICRO]
    for form in ("html", "md"):
        text = Path(f"out/targets.{form}").read_text(encoding="utf-8")
        for told in (PHONE, PI, MICRO, "fits", "0.876", "0.848 to 0.900", "not timed", "macs_75", "prune.keep_macs"):
            assert told in text
        assert f"{MICRO}/report.html" in text
        assert "TensorFlow Lite Micro 0.1 ran in" in text


def test_estimates_and_throughput_say_what_they_are(builds: Callable[..., None]) -> None:
    """What an NPU's compiler reckons is Arm's estimate; of a server the batch that gives most, and its price."""

    def more(name: str, document: Document) -> None:
        if name == MICRO:
            arm = {"cycles_npu": 120_000, "cycles_total": 120_000, "sram_bytes": 65_536, "flash_bytes": 524_288}
            document["npu"] = {
                **{"version": "5.2.0", "accelerator": "ethos-u55-128", "system": "Deep", "memory": "Sram_Only"},
                **{"model": "student_int8_io", "file": "npu/model_vela.tflite", "sha256": "0" * 64, "bytes": 1},
                **{"num_operators": 9, "num_streams": 1, "predicted": {}, "confirmed": {}, "agree": True},
                **{"estimates": {**arm, "clock_hz": 200_000_000}, "input": {}, "output": {}},
            }
        else:
            nothing = {"ci95": None, "cost_ci95": None, "peak_rss_bytes": 1, "num_runs": 10}
            batches = [
                {**nothing, "batch_size": size, "images_per_second": speed, "cost_per_million": cost}
                for size, speed, cost in ((1, 500.0, 0.4), (8, 2000.0, 0.1), (16, 1000.0, 0.2))
            ]
            form = {"id": "onnx", "path": "cloud/model.onnx", "sha256": "0" * 64, "bytes": 1, "versions": {}}
            form |= {"input": {}, "output": {}, "runtime": "onnxruntime", "init_ms": 1.0, "batches": batches}
            document["serving"] = {
                **{"target": "cloud", "num_threads": 4, "num_processes": 7, "price_per_hour": 0.72, "num_images": 9},
                **{"limits": [], "currency": "EUR", "forms": [form], "warnings": []},
            }

    builds(more)
    phone, micro = build(PHONE, MICRO).comparison["targets"]
    (served,), (compiled,) = phone["run"]["further"], micro["run"]["further"]
    assert (served["what"], compiled["what"]) == ("On a server", "On the NPU")
    assert served["how"].startswith(
        "measured: host time on this machine. Fastest: onnx, 8 at a time, 2,000 images a sec"
    )
    # 0.72 an hour, 2,000 images a second: 0.72 / 7.2 million.
    assert "0.10 EUR for a million images" in served["how"]
    assert "Arm's estimates for Deep, Sram_Only, at 200 MHz: 120,000 cycles an inference" in compiled["how"]
    assert "They are no latency: nothing was run" in compiled["how"]
    page = Path("out/targets.html").read_text(encoding="utf-8")
    assert "Arm&#39;s estimates for Deep" in page
    assert "0.10 EUR for a million images" in page


def test_nothing_fits_one_target_and_the_others_are_built(builds: Callable[..., None]) -> None:
    def too_small(name: str, document: Document) -> None:
        if name == MICRO:
            document["target"]["limits"][0] |= {"limit": SMALL, "held": False}
            document["target"]["reasons"] = ["65,536 bytes (64.0 KiB) of arena; take a smaller image"]

    builds(too_small)
    done = call("quickstart", "--target", MICRO, "--target", PHONE, "--out", "out", "--quiet")
    assert done.exit_code == 1, done.output
    assert f"{MICRO}: target max_arena_bytes: FELL SHORT, 65,536 against 4,000" in done.stdout
    assert f"{MICRO}: nothing fits; macs_75 of 2 chains, the nearest, is kept" in done.stdout
    document = json.loads(Path("out/targets.json").read_text())
    assert [row["verdict"] for row in document["targets"]] == ["does not fit", "fits"]
    assert "does not fit: 65,536 bytes (64.0 KiB) of arena" in Path("out/targets.html").read_text()


def test_a_gate_that_falls_short_is_no_matter_of_fit(builds: Callable[..., None]) -> None:
    gate = {"id": "min_auc", "limit": 0.98, "measured": 0.9375, "held": False}
    builds(lambda _, document: document["gates"].append(gate))
    made = build(PHONE, PI)
    assert not made.held
    assert [row["verdict"] for row in made.comparison["targets"]] == ["fits, but a gate fell short"] * 2
    builds(lambda _, document: document.update(budget={
        **{"model": "student_int8", "candidate": "as_written", "changes": {}, "measured": None, "place": 0},
        **{"limits": [{"id": "max_tflite_bytes", "limit": 1, "measured": 2, "held": False}], "limits_when_tried": []},
    }))  # fmt: skip
    assert [row["verdict"] for row in build(PHONE, PI).comparison["targets"]] == ["does not fit"] * 2


def test_a_target_that_cannot_be_built_does_not_stop_the_next(builds: Callable[..., None]) -> None:
    def broken(name: str, _: Document) -> None:
        if name == PI:
            raise ConversionError("the converter gave float32")

    builds(broken)
    done = call("quickstart", "--target", PI, "--target", PHONE, "--out", "out", "--quiet", "--json")
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    assert (printed["held"], list(printed["builds"])) == (False, [PHONE])
    assert [(row["name"], row["verdict"], row["problem"]) for row in printed["targets"]] == [
        (PI, "could not be built", "the converter gave float32"),
        (PHONE, "fits", ""),
    ]
    assert printed["paired"] == []
    assert "the converter gave float32" in Path("out/targets.html").read_text()


def test_what_is_wrong_for_all_of_them_ends_the_build(builds: Callable[..., None]) -> None:
    def unreadable(*_: object) -> None:
        raise DataError("no images")

    builds(unreadable)
    with pytest.raises(DataError, match="no images"):
        build(PHONE, PI)


def test_an_interrupt_says_what_is_kept(builds: Callable[..., None]) -> None:
    def interrupted(name: str, _: Document) -> None:
        if name == MICRO:
            raise KeyboardInterrupt

    builds(interrupted)
    done = call("quickstart", "--target", PHONE, "--target", MICRO, "--out", "out", "--quiet")
    assert done.exit_code == 130
    assert done.stderr == (
        f"edgekd: interrupted at target {MICRO}. Kept: finished stages, the runs of {PHONE}, and "
        f"{Path('out') / 'targets.html'}, which compares them. To go on: edgekd build quickstart --target {PHONE} "
        f"--target {MICRO} --out out --quiet\n"
    )
    document = json.loads(Path("out/targets.json").read_text())
    assert [row["verdict"] for row in document["targets"]] == ["fits", "not built yet"]
    builds()
    assert call("quickstart", "--target", PHONE, "--target", MICRO, "--out", "out", "--quiet").exit_code == 0


# Where it is written


def test_a_folder_of_something_else_is_left_alone(builds: Callable[..., None]) -> None:
    builds()
    Path("holiday").mkdir()
    Path("holiday/beach.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r'"holiday" holds beach\.jpg, which is no run, and is left alone'):
        build(PHONE, PI, out="holiday")
    assert [path.name for path in Path("holiday").iterdir()] == ["beach.jpg"]
    write_run(document_by_hand(), Path("single"))
    with pytest.raises(OutputError, match='"single" is the run of one target'):
        build(PHONE, PI, out="single")
    assert not Path("single/targets.json").exists()
    build(PHONE, PI)
    build(PHONE, MICRO)  # into a folder of its own making


# From the command line


def test_one_target_is_the_recipe_with_that_target(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("edgekd.api.build", lambda *arguments, **named: seen.append((arguments, named)) or 1 / 0)
    call("quickstart", "--target", MICRO, "--set", "seed=3")
    (((name,), named),) = seen
    assert (name, named["overrides"]) == ("quickstart", {"seed": 3, "benchmark.target": MICRO})
    assert "targets" not in named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", PHONE, "--set", f"benchmark.target={PI}"], "--target and --set benchmark.target: one of the two"),
        (["--target", PHONE, "--target", "microcontroler"], 'did you mean "microcontroller"'),
        (["--target", PHONE, "--target", PHONE], "name it once"),
        (["--target", PHONE, "--target", PI, "--until", "distill"], 'until "distill": several targets are compared'),
        (["--target", PHONE, "--target", PI, "--workers", "2"], "several targets are built by one worker"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_wrong_turns(arguments: list[str], message: str, dry: bool) -> None:
    done = call("quickstart", *arguments, *(["--dry-run"] if dry else []))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(Path().iterdir()) == []


def test_the_plan_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    common = ("quickstart", "--target", PHONE, "--target", MICRO, "--dry-run", "--no-measure", "--cache-dir", "cache")
    done = call(*common)
    assert done.exit_code == 0, done.output
    first, second = done.stdout.split(f"target {MICRO}: ")
    assert "  teacher_logits " in first
    assert f"target {PHONE}: " in first
    assert "limits: none in numbers" in first
    assert "limits of the target: the chain" not in first
    assert (
        f"into {Path('edgekd-out') / 'quickstart-targets' / MICRO}; limits: max_tflite_bytes 786,432, max_arena"
        in second
    )
    assert "not timed: the target is only checked" in second
    assert "  teacher_logits " not in second
    assert [line.split()[0] for line in second.splitlines() if " to run" in line] == [
        *("quantize", "verify", "benchmark", "fit", "bundle", "report"),
    ]
    assert "limits of the target: the chain above" in second
    assert "macs_50" in second
    planned = json.loads(call(*common, "--json").stdout)
    assert list(planned["targets"]) == [PHONE, MICRO]
    assert planned["targets"][MICRO]["recipe"]["benchmark"]["target"] == MICRO
    assert not Path("edgekd-out").exists()


def test_the_function_gives_typed_runs(builds: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    builds()
    made = api.build_targets("quickstart", [PHONE, PI], cache_dir="cache")
    assert made.path == Path("edgekd-out/quickstart-targets")
    assert made.runs[PI].report is not None
    assert made.runs[PI].report.shipped.id == "student_int8"
    with pytest.raises(UserError, match=r"benchmark\.target = 'host': targets stand in its place"):
        api.build_targets("quickstart", [PHONE, PI], overrides={"benchmark.target": "host"})


def test_a_profile_that_limits_chooses_the_chain_and_another_does_not() -> None:
    from edgekd.ladder import is_limited

    limited = {name: is_limited(quickstart(**{"benchmark.target": name})) for name in ("host", PHONE, PI, MICRO)}
    assert limited == {"host": False, PHONE: False, PI: True, MICRO: True}
    assert is_limited(quickstart(**{"budget.max_tflite_bytes": 1}))
    assert targets_page.NAME == "targets"
