"""Which channels go for a budget: by hand."""

from __future__ import annotations

from typing import Any

import channel_models
import numpy as np
import pytest
from channel_models import conv, head, image

from edgekd import _keras, channels
from edgekd.errors import ModelError, RecipeError
from edgekd.models import build_student


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def chain() -> channels.Structure:
    """Of 19,488 multiply-accumulates (3,072 + 16,384 + 32) are left with 8 channels in ``a`` 9,760 (1,536 + 8,192 +
    32; 0.501), with 8 in ``b`` 11,280 (3,072 + 8,192 + 16; 0.579), with 8 in both 5,648 (1,536 + 4,096 + 16; 0.290)."""
    return channels.follow(channel_models.chain())


def scores(**low: float) -> dict[str, Any]:
    """In each group the first eight channels are worth ``low`` each, the others 10."""
    return {name: np.array([value] * 8 + [10.0] * 8) for name, value in low.items()}


FIRST = tuple(range(8))


@pytest.mark.parametrize(
    ("keep_macs", "removed"),
    [
        (1.0, {}),
        (0.99, {"b": FIRST}),  # the lowest first
        (0.58, {"b": FIRST}),
        (0.57, {"a": FIRST}),  # then a too; b is not needed any more and comes back
        (0.502, {"a": FIRST}),
        (0.5, {"a": FIRST, "b": FIRST}),
        (0.29, {"a": FIRST, "b": FIRST}),
    ],
)
def test_the_lowest_scores_go_until_the_budget_holds(keep_macs: float, removed: dict[str, tuple[int, ...]]) -> None:
    structure = chain()
    plan = channels.by_scores(structure, scores(a=2.0, b=1.0), keep_macs)
    assert plan.removed == removed
    assert channels.macs(channels.remove(structure, plan)) <= keep_macs * 19_488


def test_places_of_the_lowest_scores() -> None:
    structure = chain()
    values = np.random.default_rng(0).permutation(16).astype(float)
    plan = channels.lowest(structure, {"a": values}, {"a": 13})
    assert plan.removed == {"a": tuple(sorted(values.tolist().index(rank) for rank in (0.0, 1.0, 2.0)))}
    assert channels.lowest(structure, {"a": np.zeros(16)}, {"a": 14}).removed == {"a": (14, 15)}


@pytest.mark.parametrize(
    ("multiple", "minimum", "allowed"),
    [
        (8, 8, [20, 16, 8]),
        (8, 9, [20, 16]),
        (4, 8, [20, 16, 12, 8]),
        (16, 1, [20, 16]),
        (8, 24, [20]),
        (1, 18, [20, 19, 18]),
    ],
)
def test_counts_that_kernels_like(multiple: int, minimum: int, allowed: list[int]) -> None:
    x = image()
    structure = channels.follow(head(x, conv(x, 20, "a")))
    assert channels.counts(structure.groups["a"], multiple, minimum) == allowed
    assert channels.counts(structure.groups["image"]) == [3]


@pytest.mark.parametrize(
    ("ratio", "multiple", "kept"),
    [(0.0, 8, 16), (0.3, 8, 16), (0.5, 8, 8), (0.9, 8, 8), (0.3, 1, 12), (0.75, 1, 8), (0.25, 4, 12), (0.26, 4, 12)],
)
def test_ratios_remove_at_most_what_they_say(ratio: float, multiple: int, kept: int) -> None:
    """Of 16 channels; at least 8 are kept."""
    plan = channels.by_ratios(chain(), scores(a=1.0), {"a": ratio}, multiple=multiple)
    assert 16 - len(plan.removed.get("a", ())) == kept


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"a": 1.0}, r'^ratio of "a" = 1; allowed: 0 <= ratio < 1 \(1 would leave no channel\)$'),
        ({"a": -0.1}, r'^ratio of "a" = -0.1; allowed'),
        ({"logits": 0.5}, r'^ratio of "logits" = 0.5, but its channels have to stay: they are the model\'s output$'),
    ],
)
def test_ratios_out_of_range(ratios: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        channels.by_ratios(chain(), scores(a=1.0), ratios)


def test_ratios_that_are_settled_leave_the_rest_to_the_budget() -> None:
    """Only b is left to make up the rest, though it is a's channels or b's that go at 0.501 or 0.579, see chain."""
    half = channels.by_scores(chain(), scores(a=9.0, b=1.0), 1.0, ratios={"a": 0.5})
    assert {name: len(places) for name, places in half.removed.items()} == {"a": 8}
    both = channels.by_scores(chain(), scores(a=9.0, b=1.0), 0.5, ratios={"a": 0.5})
    assert {name: len(places) for name, places in both.removed.items()} == {"a": 8, "b": 8}
    curves = {name: [(0.0, 1.0), (0.5, 1.5)] for name in ("a", "b")}
    assert channels.by_curves(chain(), scores(a=9.0, b=1.0), curves, 0.5, ratios={"a": 0.5}) == both
    with pytest.raises(RecipeError, match=r"keep_macs = 0\.5 cannot be reached: .*, 0\.579 of the"):
        channels.by_scores(chain(), scores(a=9.0, b=1.0), 0.5, ratios={"a": 0.0})


def test_a_ratio_for_a_group_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r'^no group of channels "logit"; did you mean "logits"\?$'):
        channels.by_ratios(chain(), {}, {"logit": 0.5})


@pytest.mark.parametrize("keep_macs", [0.0, -1.0, 1.1, float("nan")])
def test_budgets_out_of_range(keep_macs: float) -> None:
    with pytest.raises(RecipeError, match=r"^keep_macs = .*; allowed: 0 < keep_macs <= 1$"):
        channels.by_scores(chain(), scores(a=1.0, b=1.0), keep_macs)


def test_a_budget_that_cannot_be_met() -> None:
    with pytest.raises(RecipeError, match=r"^keep_macs = 0.28 cannot be reached: .* 0.290 of the multiply-accumulates"):
        channels.by_scores(chain(), scores(a=1.0, b=1.0), 0.28)
    structure = channels.follow(channel_models.chain(), protected=["b"])
    with pytest.raises(RecipeError, match=r"^keep_macs = 0.5 cannot be reached: .* 0.501 of the multiply-accumulates"):
        channels.by_scores(structure, scores(a=1.0), 0.5)


@pytest.mark.parametrize("found", [{}, {"a": np.zeros(15)}, {"a": np.full(16, np.nan)}])
def test_scores_that_cannot_be_used(found: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r'^group "a" needs a score for each of its 16 channels, all finite$'):
        channels.by_scores(chain(), found, 0.9)


def test_curves_weigh_loss_against_what_is_saved() -> None:
    """``a`` saves 9,728 multiply-accumulates for 0.11, ``b`` 8,208 for 0.10: 1.13e-5 and 1.22e-5 for each."""
    curves = {"a": [(0.0, 0.5), (0.5, 0.61)], "b": [(0.0, 0.5), (0.5, 0.6)]}
    assert set(channels.by_curves(chain(), scores(a=1.0, b=1.0), curves, 0.99).removed) == {"a"}
    worse = curves | {"a": [(0.0, 0.5), (0.5, 0.9)]}
    assert set(channels.by_curves(chain(), scores(a=1.0, b=1.0), worse, 0.58).removed) == {"b"}


def wide() -> channels.Structure:
    """One convolution of 32 channels, 64 * 3 * 32 = 6,144, and 64 in the head: 194 for each channel."""
    x = image()
    return channels.follow(head(x, conv(x, 32, "a")))


@pytest.mark.parametrize(
    ("curve", "keep_macs", "kept"),
    [
        ([(0.0, 0.0), (0.75, 0.3)], 0.75, 24),  # interpolated, linear: no further than needed
        ([(0.0, 0.0), (0.5, 0.3)], 0.5, 16),
        # A quarter costs more than half of it does: no stop at 24.
        ([(0.0, 0.0), (0.25, 0.3), (0.5, 0.2)], 0.8, 16),
        ([(0.0, 0.0), (0.25, 0.1), (0.5, 0.3)], 0.8, 24),
    ],
)
def test_one_curve(curve: list[tuple[float, float]], keep_macs: float, kept: int) -> None:
    plan = channels.by_curves(wide(), {"a": np.arange(32.0)}, {"a": curve}, keep_macs)
    assert plan.removed == {"a": tuple(range(32 - kept))}


def test_no_further_than_a_curve_was_measured() -> None:
    with pytest.raises(RecipeError, match=r"0\.500 of the multiply-accumulates remain"):
        channels.by_curves(wide(), {"a": np.arange(32.0)}, {"a": [(0.0, 0.0), (0.5, 0.3)]}, 0.4)


@pytest.mark.parametrize("curve", [[], [(0.25, 0.1)], [(0.0, 0.0), (0.0, 0.1)], [(0.0, 0.0), (0.5, float("nan"))]])
def test_curves_that_cannot_be_used(curve: list[tuple[float, float]]) -> None:
    with pytest.raises(ModelError, match=r'^curve of "a": pairs \(fraction, loss\) that ascend from fraction 0'):
        channels.by_curves(wide(), {"a": np.arange(32.0)}, {"a": curve}, 0.5)


def test_a_curve_of_channels_that_stay() -> None:
    with pytest.raises(
        ModelError, match=r'^curve of "logits": its channels have to stay: they are the model\'s output$'
    ):
        channels.by_curves(wide(), {}, {"logits": [(0.0, 0.0)]}, 0.5)


def test_mobilenet_v2_at_half() -> None:
    """The budget holds and is used, the stem is left alone, all counts are what they were or a multiple of 8."""
    model = build_student("mobilenet_v2", image_size=32, num_classes=2, width_multiplier=0.35)
    structure = channels.follow(model, protected=["Conv1"])
    smaller = channels.remove(structure, channels.by_scores(structure, channels.l1(structure), 0.5))
    assert 0.49 < channels.macs(smaller) / channels.macs(model) <= 0.5
    assert smaller.get_layer("Conv1").filters == 16
    for layer in smaller.layers:
        before, after = model.get_layer(layer.name).output.shape[-1], layer.output.shape[-1]
        assert after == before or (after >= 8 and after % 8 == 0)
