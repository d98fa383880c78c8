"""What the cells of an ablation say, and the picture of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgekd.ablation_plot import STYLES, plot
from edgekd.ablation_table import compare, markdown, verdict


def cell(method: str, seed: int, top1: float, auc: float, seconds: float | None = 2.0) -> dict[str, Any]:
    figures = {"top1": top1, "auc": auc, "macro_recall": 0.5}
    both = {"val": figures, "test": figures}
    return {"method": method, "seed": seed, "seconds_per_epoch": seconds, "student_fp32": both, "student_int8": both}


def test_differences_are_paired_by_seed() -> None:
    # Gains 0.02, 0.03, 0.04: mean 0.03, standard deviation 0.01, over sqrt(3); t(0.975, 2) = 4.3027.
    cells = [cell("none", seed, 0.8 + 0.05 * seed, 0.9) for seed in range(3)]
    cells += [cell("kd", seed, 0.8 + 0.05 * seed + 0.02 + 0.01 * seed, 0.9) for seed in reversed(range(3))]
    row = compare("kd", cells)
    top1 = row["student_int8"]["test"]["top1"]
    assert row["seeds"] == [2, 1, 0]
    assert top1["mean"] == pytest.approx(0.88)
    assert top1["sd"] == pytest.approx(0.06)
    assert top1["differences"] == pytest.approx([0.04, 0.03, 0.02])
    assert top1["difference"] == pytest.approx(0.03)
    half = 4.3027 * 0.01 / 3**0.5
    assert top1["ci95"] == pytest.approx([0.03 - half, 0.03 + half], abs=1e-5)
    assert top1["verdict"] == "shown"
    auc = row["student_int8"]["test"]["auc"]
    assert (auc["difference"], auc["verdict"]) == (0.0, "not shown")


def test_fewer_seeds_are_compared_with_the_same_of_none() -> None:
    cells = [cell("none", seed, top1, 0.9) for seed, top1 in enumerate([0.70, 0.72, 0.99])]
    cells += [cell("mutual", seed, top1, 0.9, None) for seed, top1 in enumerate([0.71, 0.75])]
    row = compare("mutual", cells)
    assert row["student_fp32"]["test"]["top1"]["differences"] == pytest.approx([0.01, 0.03])
    assert row["student_fp32"]["test"]["top1"]["difference"] == pytest.approx(0.02)
    assert row["seconds_per_epoch"] is None
    assert compare("none", cells)["student_fp32"]["test"]["top1"]["verdict"] == "baseline"


def row(method: str, val: float, test: float, verdict: str, num_seeds: int = 3) -> dict[str, Any]:
    def part(difference: float) -> dict[str, Any]:
        ci95 = [difference - 0.01, difference + 0.01]
        spread = [difference + 0.001 * step for step in range(num_seeds)]
        found = {"difference": difference, "ci95": ci95, "differences": spread, "mean": 0.9, "sd": 0.01}
        return {**found, "verdict": "baseline" if method == "none" else verdict}

    student = {"val": {"top1": part(-val), "auc": part(val)}, "test": {"top1": part(test), "auc": part(2 * test)}}
    student["test"]["macro_recall"] = part(0.5)
    return {"method": method, "seeds": list(range(num_seeds)), "seconds_per_epoch": 2.0, "student_fp32": student}


NONE = row("none", 0.0, 0.0, "baseline", 5)


def test_val_chooses_and_test_is_told() -> None:
    rows = [NONE, row("kd", 0.05, -0.03, "refuted"), row("dkd", 0.02, 0.05, "shown")]
    found = verdict(rows, "auc")
    assert found["chosen"] == "kd"  # although dkd is better on test
    assert found["sentence"] == (
        "by AUC on val, kd is chosen (+0.0500 against the student alone); on test, over 3 seeds: "
        "AUC -0.0600 (-0.0700 to -0.0500), a loss is shown; top-1 -0.0300 (-0.0400 to -0.0200), a loss is shown"
    )


@pytest.mark.parametrize(("word", "told"), [("shown", "a gain is shown"), ("not shown", "no gain is shown")])
def test_the_sentence_says_whether_a_gain_is_shown(word: str, told: str) -> None:
    assert verdict([NONE, row("kd", 0.05, 0.02, word)], "auc")["sentence"].endswith(told)


def test_another_figure_may_choose() -> None:
    rows = [NONE, row("kd", 0.05, 0.0, "not shown"), row("dkd", -0.02, 0.05, "shown")]
    assert verdict(rows, "top1")["chosen"] == "dkd"  # its top-1 on val is up where its AUC is down
    assert verdict(rows, "top1")["sentence"].startswith("by top-1 on val, dkd is chosen (+0.0200")


@pytest.mark.parametrize("val", [0.0, -0.01])
def test_what_is_no_better_on_val_is_not_chosen(val: float) -> None:
    found = verdict([NONE, row("kd", val, 0.3, "shown")], "auc")
    assert found == {"chosen": "none", "sentence": "by AUC on val, no method was better than the student alone"}


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": {"name": "cells", "num_val": 50, "num_test": 80},
        "teacher": {"test": {"top1": 0.75, "auc": 0.875, "macro_recall": 0.5}},
        "seeds": [0, 1, 2, 3, 4],
        "choose_by": "auc",
        "methods": [NONE, *rows],
        **verdict([NONE, *rows], "auc"),
    }


def test_the_table_has_a_line_a_method_and_says_what_it_was_measured_on() -> None:
    lines = markdown(document(row("kd", 0.05, 0.02, "shown"))).splitlines()
    figures = "val AUC | against none | test AUC | against none | test top-1 | against none"
    assert lines[0] == f"| method | seeds | {figures} | s per epoch |"
    assert lines[2] == "| none | 5 | 0.9000 ± 0.0100 | – | 0.9000 ± 0.0100 | – | 0.9000 ± 0.0100 | – | 2.0 |"
    assert lines[3].startswith(
        "| kd | 3 | 0.9000 ± 0.0100 | +0.0500 (+0.0400 to +0.0600) | 0.9000 ± 0.0100 | +0.0400 ("
    )
    assert lines[5].startswith("By AUC on val, kd is chosen")
    assert lines[7] == (
        "cells, n = 50 on val and 80 on test; student_fp32, seeds 0, 1, 2, 3, 4; the teacher on test: top-1 0.7500, "
        "AUC 0.8750."
    )


def test_without_a_teacher_of_its_own_none_is_told_of() -> None:
    told = markdown({**document(row("kd", 0.05, 0.02, "shown")), "teacher": None})
    assert "the teacher on test" not in told


def test_the_picture_names_the_methods_and_is_the_same_each_time(tmp_path: Path) -> None:
    made = document(row("kd", 0.05, 0.02, "shown"), row("mutual", -0.02, -0.05, "refuted", 2))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        plot(made, tmp_path / name)
    for name in ("ablation.svg", "ablation.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    svg = (tmp_path / "first" / "ablation.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    # Matplotlib draws letters as paths and says in a comment which they are.
    for text in ("kd ✓", "mutual", "2 seeds", "AUC", "top-1", "val, mean", "test, mean", "one seed", "80 on test"):
        assert text in svg, text
    with Image.open(tmp_path / "first" / "ablation.png") as picture:
        assert picture.width > 1000
        assert "kd is chosen" in picture.info["Description"]


def test_the_picture_says_where_nothing_was_chosen(tmp_path: Path) -> None:
    plot(document(row("kd", -0.05, 0.02, "shown")), tmp_path)
    svg = (tmp_path / "ablation.svg").read_text(encoding="utf-8")
    assert "no method chosen on val" in svg
    assert "✓" not in svg


def test_the_splits_are_told_apart_without_colour(tmp_path: Path) -> None:
    test, val = STYLES["test"], STYLES["val"]
    assert (test["marker"], test["line"]) != (val["marker"], val["line"])
    assert val["filling"] == "white"


def test_an_interval_wider_than_the_picture_does_not_squeeze_the_dots(tmp_path: Path) -> None:
    wide = row("kd", 0.05, 0.02, "not shown", 2)
    wide["student_fp32"]["test"]["auc"]["ci95"] = [-100.0, 100.0]
    plot(document(wide), tmp_path)
    ticks = re.findall(r"<!-- [−-]?(\d+\.\d+) -->", (tmp_path / "ablation.svg").read_text(encoding="utf-8"))
    # The dots lie between -0.05 and 0.05: 60 % more on either side.
    assert 0.05 <= max(map(float, ticks)) < 0.2
