"""Which channels of a student can go, and what they are worth, as a recipe says: for analysis and for removal."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from edgekd import channels
from edgekd._keras import tf
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import ModelError, RecipeError, did_you_mean
from edgekd.logits_store import LogitsStore
from edgekd.step import Batch, Objective, epoch_order, make_batch, weights_of_classes
from edgekd.views import show

# Two thousand images at the default batch size: seconds of work, and more of them hardly change the order.
MAX_BATCHES = 16

RATIOS = "prune.layer_channel_ratios"


def follow(model: Any, protected_layers: Iterable[str]) -> channels.Structure:
    """The groups of channels of a student; what is wrong is said in terms of the recipe.

    Raises:
        ModelError: a layer that cannot be followed.
        RecipeError: a protected layer that does not exist.
    """
    try:
        return channels.follow(model, protected_layers)
    except RecipeError as error:
        raise RecipeError(f"prune.protected_layers: {error}") from None
    except ModelError as error:
        raise ModelError(f'prune.method = "channel": {error}; or set prune.method = "weight"') from None


def ratios(structure: channels.Structure, wanted: Mapping[str, float]) -> dict[str, float]:
    """The fraction that goes of each group that ``prune.layer_channel_ratios`` says something of.

    Args:
        structure: of the student.
        wanted: fractions by names of groups, of layers, or patterns of group names, as :mod:`fnmatch` reads them. A
            pattern passes over groups that have to stay whole.

    Raises:
        RecipeError: a name that is not there, or of a group that has to stay whole, or two for one group; a pattern
            that fits no group.
    """
    found: dict[str, float] = {}
    whole = [group.name for group in structure.prunable]
    # The longest pattern last: what comes later wins.
    for pattern in sorted(filter(_is_pattern, wanted), key=lambda text: (len(text), text)):
        fitting = fnmatch.filter(whole, pattern)
        if not fitting:
            raise RecipeError(f'{RATIOS}."{pattern}" fits no group of channels; there are: {", ".join(whole)}')
        found |= dict.fromkeys(fitting, wanted[pattern])
    of_layer = {layer: group for group in structure.groups.values() for layer in group.layers}
    named: dict[str, str] = {}
    for name in wanted:
        if _is_pattern(name):
            continue
        group = structure.groups.get(name) or of_layer.get(name)
        if group is None:
            raise RecipeError(f'{RATIOS}."{name}": no layer makes such channels{did_you_mean(name, whole)}')
        if group.kept_because and wanted[name]:
            raise RecipeError(f'{RATIOS}."{name}" = {wanted[name]:g}: {group.kept_because}; leave it out')
        if group.name in named:
            raise RecipeError(f'{RATIOS}: "{named[group.name]}" and "{name}" lose the same channels; name one of them')
        named[group.name] = name
        found[group.name] = wanted[name]
    return found


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def check_removable(structure: channels.Structure, multiple: int) -> None:
    """Raise RecipeError where no group may lose a channel."""
    if all(len(channels.counts(group, multiple, multiple)) == 1 for group in structure.prunable):
        raise RecipeError(
            "prune.protected_layers: no layer can lose channels; protect fewer layers, or lower "
            f"prune.channel_multiple ({multiple})"
        )


def scores(
    structure: channels.Structure, criterion: str, objective: Objective, batches: Iterable[Batch]
) -> channels.Scores:
    """What each channel is worth by a criterion of the recipe.

    Args:
        structure: of the student.
        criterion: ``prune.criterion``.
        objective: the loss that ``taylor`` looks at.
        batches: of training images, as :func:`training_batches` makes them.

    Raises:
        ModelError: no batch normalization where ``bn_scale`` wants it.
        TrainingError: see :func:`edgekd.channels.taylor`.
    """
    if criterion == "l1":
        return channels.l1(structure)
    if criterion == "bn_scale":
        return channels.bn_scale(structure)
    model = structure.model
    loss = tf.function(lambda batch: objective(batch, model(show(batch.scene), training=False)))
    return channels.taylor(structure, batches, loss)


def training_batches(
    dataset: Dataset,
    training: Training,
    views: Views,
    soft_targets: LogitsStore | None,
    seed: int,
    index: int,
) -> Iterator[Batch]:
    """Batches of training views as a step of training sees them; each round (``index``) looks at another view."""
    view = index if soft_targets is None else index % len(soft_targets)
    order, size = epoch_order(seed, index, len(dataset.train.labels)), training.batch_size
    class_weights = weights_of_classes(training, dataset.train)
    for number in range(min(MAX_BATCHES, max(1, len(order) // size))):
        indices = np.sort(order[number * size :][:size])
        batch = make_batch(dataset.train, indices, view, views, seed, soft_targets, class_weights)
        yield tf.nest.map_structure(tf.convert_to_tensor, batch)
