"""The report's pictures and colours: what can be read by whom, and what stands where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest

from edgekd.charts import palette
from edgekd.charts.curves import curves
from edgekd.charts.distributions import distributions
from edgekd.charts.draw import MARKERS, WIDTH, canvas, label, to_svg
from edgekd.charts.latencies import latencies
from edgekd.charts.layers import layer_errors, sensitivities
from edgekd.charts.pareto import Point, front, pareto
from edgekd.charts.recalls import recalls
from edgekd.charts.reliability import reliability

THEMES = {"light": palette.LIGHT, "dark": palette.DARK}


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    # Black on white is the largest there is; #767676 is known as the lightest grey that passes on white.
    [("#000000", "#ffffff", 21.0), ("#ffffff", "#ffffff", 1.0), ("#767676", "#ffffff", 4.54)],
)
def test_contrast_is_that_of_wcag(first: str, second: str, ratio: float) -> None:
    assert palette.contrast(first, second) == pytest.approx(ratio, abs=0.005)
    assert palette.contrast(second, first) == palette.contrast(first, second)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_marks_can_be_told_from_their_ground(theme: Mapping[str, str]) -> None:
    for ground in palette.GROUNDS:
        assert {role: palette.contrast(theme[role], theme[ground]) >= 4.5 for role in palette.TEXT} == dict.fromkeys(
            palette.TEXT, True
        )
        assert all(palette.contrast(theme[role], theme[ground]) >= 3.0 for role in palette.MARKS)
    for over in ("accent", "bad"):
        deepest = palette.mixed(theme[over], theme["paper"], palette.HEAT)
        assert palette.contrast(theme["ink"], deepest) >= 4.5


def test_colours_have_one_meaning_each_and_marks_a_shape_too() -> None:
    assert palette.LIGHT.keys() == palette.DARK.keys()
    for theme in THEMES.values():
        assert len(set(theme.values())) == len(theme)
    assert set(MARKERS) == set(palette.MARKS)
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert palette.mixed("#ff0000", "#0000ff", 0.25) == "#4000bf"


BINS = [{"low": 0.5, "high": 1.0, "n": 4, "confidence": 0.75, "accuracy": 0.5, "accuracy_ci95": [0.15, 0.85]}]
CLASSES = [
    {"name": name, "recall": 0.75, "recall_ci95": [0.5, 0.875]} for name in ("normal", '$a$ <b> & "c"\nd' + 30 * "x")
]
LATENCY = {"p50_ms": 0.5, "p90_ms": 0.75, "p99_ms": None, "p50_ci95_ms": None}
SPREAD = {
    "percents": [1, 25, 50, 75, 98, 100],
    "models": [
        {"model": "a", "ms": [1.0, 2.0, 3.0, 4.0, 5.0, 90.0], "processes": [[1.0, 2.0, 2.5, 3.0, 5.0, 6.0]]},
        {"model": "$b$", "ms": [0.1, 0.2, 0.25, 0.3, 0.5, 0.6], "processes": [[0.1, 0.2, 0.25, 0.3, 0.5, 0.6]]},
    ],
}
EPOCH = {"epoch": 0, "loss": 1.0, "val_loss": 0.5, "val_top1": 0.75, "val_auc": 0.875}
LAYER = {
    **{"layer": "stem", "mean_rise": 0.5, "logits_snr_db": 20.0},
    "points": [{"fraction": 0.0, "loss": 0.25}, {"fraction": 0.5, "loss": 0.75}],
}
POINTS = [Point("a", "teacher", 100.0, 0.9, (0.8, 0.95)), Point("b", "shipped", 1.0, 0.8, None)]
PICTURES = {
    "reliability": lambda: reliability(BINS, "student_int8", "shipped", "one", "ECE 0.25"),
    "recalls": lambda: recalls([("before", "teacher", CLASSES), ("after", "shipped", CLASSES)]),
    "curves": lambda: curves([EPOCH], "Teacher", "two", "top1", "top-1"),
    "latencies": lambda: latencies(
        [("a", "teacher", LATENCY), ("b", "shipped", {**LATENCY, "p50_ci95_ms": [0.4, 0.6]})]
    ),
    "distributions": lambda: distributions(SPREAD, {"a": "teacher", "$b$": "shipped"}),
    "sensitivities": lambda: sensitivities([LAYER], 0.25),
    "layer_errors": lambda: layer_errors([LAYER, {**LAYER, "layer": "none", "logits_snr_db": None}]),
    "pareto": lambda: pareto(POINTS, "three", "size of the file", "KiB", "top-1"),
}


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_one_element_in_the_colours_of_the_page(make: object) -> None:
    assert callable(make)
    text = make()
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("role")) == ("svg", "img")
    assert len(root.get("aria-label") or "") > 20
    assert float((root.get("viewBox") or "").split()[2]) == WIDTH  # as wide as a phone: nothing is scaled down
    assert re.findall(r"#[0-9a-f]{6}\b", text) == []
    used = set(re.findall(r"var\(--(\w+)\)", text))
    assert used
    assert used <= set(palette.LIGHT)
    assert "DejaVu" not in text
    assert text == make()


def test_the_spread_of_times_is_told_in_words_too() -> None:
    text = PICTURES["distributions"]()
    assert "half of a from 2 to 4; half of $b$ from 0.2 to 0.3" in text
    assert "a: p50 3 ms" in text
    assert "$b$: p50 0.25 ms" in text  # a name is no formula


def test_ids_are_those_of_the_picture() -> None:
    first, second = (pareto(POINTS, name, "size", "KiB", "top-1") for name in ("first", "second"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', first)) <= ids[0]


def test_the_alternative_text_of_a_strangers_name_stays_text() -> None:
    with canvas("evil", 50.0) as figure:
        figure.subplots()
        text = to_svg(figure, "evil", '"><script>alert(1)</script>')
    assert "<script" not in text
    assert ElementTree.fromstring(text).get("aria-label") == '"><script>alert(1)</script>'


def test_labels_are_short_and_on_one_line() -> None:
    assert label("a\nb  c", 10) == "a b c"
    assert label("block_12_expand", 8) == "block_1…"
    assert label("block_12_expand", 8, keep="end") == "…_expand"
    assert label("$x$", 10) == r"\$x\$"


@pytest.mark.parametrize(
    ("costs", "accuracies", "expected"),
    [
        ([1.0], [0.5], [0]),
        ([3.0, 1.0, 2.0], [0.9, 0.5, 0.7], [1, 2, 0]),  # each dearer one is better
        ([1.0, 2.0, 3.0], [0.9, 0.8, 0.9], [0]),  # cheapest and best
        ([1.0, 1.0, 2.0], [0.5, 0.6, 0.7], [1, 2]),  # of two of one cost the better
        ([1.0, 1.0, 2.0], [0.5, 0.5, 0.4], [0, 1]),  # two alike beat each other in nothing
    ],
)
def test_the_front_by_hand(costs: list[float], accuracies: list[float], expected: list[int]) -> None:
    points = [
        Point(str(index), "float", cost, accuracy, None)
        for index, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True))
    ]
    assert [int(point.model) for point in front(points)] == expected
