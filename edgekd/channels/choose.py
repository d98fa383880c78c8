"""Choose the channels that go: by a budget of multiply-accumulates, by a ratio for each group, or both.

Kernels work on several channels at a time. A group therefore keeps all of its channels or a multiple of 8 of them, and
8 at least; both numbers can be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.allocation import lower_hull
from edgekd.channels.criteria import Scores
from edgekd.channels.groups import Group, Structure
from edgekd.channels.macs import table
from edgekd.channels.plan import Plan
from edgekd.errors import ModelError, RecipeError

MULTIPLE = 8


def counts(group: Group, multiple: int = MULTIPLE, minimum: int = MULTIPLE) -> list[int]:
    """The numbers of channels that a group may keep, from all of them downwards."""
    if group.kept_because:
        return [len(group)]
    first = -(-max(minimum, 1) // multiple) * multiple
    return [len(group), *sorted(range(first, len(group), multiple), reverse=True)]


def count_at(group: Group, ratio: float, multiple: int = MULTIPLE, minimum: int = MULTIPLE) -> int:
    """The lowest allowed number of channels that removes no more than that fraction of the group, in [0, 1)."""
    # The small number is for ratios like 0.7, of which 1 - 0.7 is a little less than 0.3.
    return min(count for count in counts(group, multiple, minimum) if count >= len(group) * (1 - ratio) - 1e-9)


def lowest(structure: Structure, scores: Scores, kept: Mapping[str, int]) -> Plan:
    """The plan that keeps so many channels of each group, those with the highest scores; other groups stay whole.

    Of equal scores the first are kept.

    Raises:
        ModelError: an unknown group, or scores that are missing, not a number, or not one for each channel.
    """
    removed = {}
    for name, count in kept.items():
        group = structure.group(name)
        if count < len(group):
            order = np.argsort(-_scores_of(group, scores), kind="stable")
            removed[name] = tuple(sorted(order[count:].tolist()))
    return Plan(removed)


def by_ratios(
    structure: Structure,
    scores: Scores,
    ratios: Mapping[str, float],
    *,
    multiple: int = MULTIPLE,
    minimum: int = MULTIPLE,
) -> Plan:
    """Remove in each named group at most that fraction of its channels, as near to it as the allowed numbers come.

    Raises:
        RecipeError: a ratio outside [0, 1), or one above 0 for a group that has to stay whole.
        ModelError: an unknown group, or unusable scores.
    """
    return lowest(structure, scores, _counts_at(structure, ratios, multiple, minimum))


def _counts_at(structure: Structure, ratios: Mapping[str, float], multiple: int, minimum: int) -> dict[str, int]:
    kept = {}
    for name, ratio in ratios.items():
        group = structure.group(name)
        if not 0 <= ratio < 1:
            raise RecipeError(f'ratio of "{name}" = {ratio:g}; allowed: 0 <= ratio < 1 (1 would leave no channel)')
        if ratio and group.kept_because:
            raise RecipeError(f'ratio of "{name}" = {ratio:g}, but its channels have to stay: {group.kept_because}')
        kept[name] = count_at(group, ratio, multiple, minimum)
    return kept


def by_scores(
    structure: Structure,
    scores: Scores,
    keep_macs: float,
    *,
    ratios: Mapping[str, float] | None = None,
    multiple: int = MULTIPLE,
    minimum: int = MULTIPLE,
) -> Plan:
    """Rank the channels of all groups together and remove the lowest until the budget holds.

    Whole blocks go at a time, by their mean score; of the blocks gone, those that the budget has room for come back.

    Args:
        structure: the model.
        scores: of the prunable groups.
        keep_macs: fraction of the multiply-accumulates that may stay, in (0, 1].
        ratios: fractions that are settled, by group, as for :func:`by_ratios`; the other groups make up the rest.
        multiple: what kept counts are a multiple of.
        minimum: the fewest channels that a group keeps.

    Raises:
        RecipeError: a fraction out of range, or below what the smallest allowed counts leave.
        ModelError: unusable scores.
    """
    harms = {}
    for group in structure.prunable:
        removed = np.concatenate([[0.0], np.cumsum(np.sort(_scores_of(group, scores)))])
        harms[group.name] = {count: float(removed[len(group) - count]) for count in counts(group, multiple, minimum)}
    harms |= {name: {count: 0.0} for name, count in _counts_at(structure, ratios or {}, multiple, minimum).items()}
    return lowest(structure, scores, _descend(structure, harms, keep_macs, per_mac=False))


def by_curves(
    structure: Structure,
    scores: Scores,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    keep_macs: float,
    *,
    ratios: Mapping[str, float] | None = None,
    multiple: int = MULTIPLE,
    minimum: int = MULTIPLE,
) -> Plan:
    """Choose each group's count by a sensitivity analysis, so that little loss is predicted within the budget.

    Predicted is the sum over groups of what the loss rises by with that group alone reduced, interpolated between
    measurements. Removed first is what costs the least loss per multiply-accumulate saved; of what is gone, what the
    budget has room for comes back.

    Args:
        structure: the model.
        scores: decide which channels of a group go.
        curves: for each group that may lose channels, pairs of fraction removed and loss on val, ascending, from
            fraction 0 on. A group goes no further than its last pair.
        keep_macs, ratios: as for :func:`by_scores`.
        multiple: what kept counts are a multiple of.
        minimum: the fewest channels that a group keeps.

    Raises:
        RecipeError: as for :func:`by_scores`.
        ModelError: a curve that is no such list, or of a group that does not exist or stays whole; unusable scores.
    """
    harms = {}
    for name, curve in curves.items():
        group = structure.group(name)
        fractions, losses = np.array(curve, np.float64).reshape(-1, 2).T
        if not len(losses) or fractions[0] != 0 or (np.diff(fractions) <= 0).any() or not np.isfinite(losses).all():
            raise ModelError(f'curve of "{name}": pairs (fraction, loss) that ascend from fraction 0 are needed')
        if group.kept_because:
            raise ModelError(f'curve of "{name}": its channels have to stay: {group.kept_because}')
        harms[name] = {
            count: float(np.interp(1 - count / len(group), fractions, losses))
            for count in counts(group, multiple, minimum)
            if 1 - count / len(group) <= fractions[-1] + 1e-9
        }
    harms |= {name: {count: 0.0} for name, count in _counts_at(structure, ratios or {}, multiple, minimum).items()}
    return lowest(structure, scores, _descend(structure, harms, keep_macs, per_mac=True))


def _scores_of(group: Group, scores: Scores) -> NDArray[np.float64]:
    found = np.asarray(scores.get(group.name, np.empty(0)), np.float64)
    if found.shape != (len(group),) or not np.isfinite(found).all():
        raise ModelError(f'group "{group.name}" needs a score for each of its {len(group)} channels, all finite')
    return found


def _descend(
    structure: Structure, harms: Mapping[str, Mapping[int, float]], keep_macs: float, *, per_mac: bool
) -> dict[str, int]:
    """Go down, each time in the group where that does least harm for what it saves, until the budget holds.

    Args:
        structure: the model.
        harms: for each group what is predicted for each count that it may have.
        keep_macs: the budget, a fraction.
        per_mac: harm is weighed against multiply-accumulates saved, not against channels removed.

    Returns:
        The counts of the groups that lose channels.
    """
    if not 0 < keep_macs <= 1:
        raise RecipeError(f"keep_macs = {keep_macs:g}; allowed: 0 < keep_macs <= 1")
    macs_of, index = table(structure), {name: place for place, name in enumerate(structure.groups)}
    paths = {index[name]: _path(row) for name, row in harms.items()}
    at = dict.fromkeys(paths, 0)
    sizes = np.array([len(group) for group in structure.groups.values()])
    whole, now, smallest = macs_of(sizes), sizes.copy(), sizes.copy()
    for group, path in paths.items():
        now[group], smallest[group] = path[0][0], path[-1][0]
    if macs_of(smallest) > keep_macs * whole:
        raise RecipeError(
            f"keep_macs = {keep_macs:g} cannot be reached: with the fewest channels allowed in each group, "
            f"{macs_of(smallest) / whole:.3f} of the multiply-accumulates remain; "
            "raise keep_macs or protect fewer layers"
        )

    def neighbours(step: int) -> tuple[list[int], NDArray[np.float64], NDArray[np.int64]]:
        """Groups that can go a step, the harm that it does, and the (groups, candidates) counts after it."""
        groups = [group for group in paths if 0 <= at[group] + step < len(paths[group])]
        after = np.tile(now[:, np.newaxis], len(groups))
        after[groups, range(len(groups))] = [paths[group][at[group] + step][0] for group in groups]
        harm = [paths[group][at[group] + step][1] - paths[group][at[group]][1] for group in groups]
        return groups, np.array(harm), after

    while macs_of(now) > keep_macs * whole:
        groups, harm, after = neighbours(1)
        saved = macs_of(now) - macs_of(after)
        weight = saved if per_mac else now.sum() - after.sum(axis=0)
        best = int(np.argmin(np.where(saved > 0, harm / np.maximum(weight, 1), np.inf)))
        at[groups[best]] += 1
        now = after[:, best]
    while True:
        groups, harm, after = neighbours(-1)
        gain = np.where(macs_of(after) <= keep_macs * whole, -harm, 0)
        if not groups or gain.max() <= 0:
            return {name: int(now[place]) for name, place in index.items() if now[place] < sizes[place]}
        best = int(np.argmax(gain))
        at[groups[best]] -= 1
        now = after[:, best]


def _path(harms: Mapping[int, float]) -> list[tuple[int, float]]:
    """The counts that a group goes through on its way down, with their harm: a lower convex hull."""
    return [(-int(place), harm) for place, harm in lower_hull((-count, harm) for count, harm in harms.items())]
