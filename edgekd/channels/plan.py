"""Which channels go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.channels.groups import Structure
from edgekd.errors import ModelError


@dataclass(frozen=True)
class Plan:
    """Channels to be removed.

    Attributes:
        removed: for each group that loses channels, their places in it, ascending.
    """

    removed: Mapping[str, tuple[int, ...]]

    def kept(self, structure: Structure) -> NDArray[np.bool_]:
        """For each unit of the structure, whether it stays.

        Raises:
            ModelError: an unknown group, one that has to stay whole, or one that has no such channel or none left.
        """
        kept = np.ones(structure.num_units, bool)
        for name, places in self.removed.items():
            group = structure.group(name)
            if places and group.kept_because:
                raise ModelError(f'channels of "{name}" cannot be removed: {group.kept_because}')
            if not all(0 <= place < len(group) for place in places):
                raise ModelError(f'group "{name}" has channels 0 to {len(group) - 1}, not all of {list(places)}')
            kept[group.units[list(places)]] = False
            if not kept[group.units].any():
                raise ModelError(f'all {len(group)} channels of "{name}" would be removed; leave at least one')
        return kept
