"""What any teacher gives: logits of the views that it is shown.

A teacher's artifact holds one of::

    model/                      a Keras network; also to be run in a training step, and looked into
    given.json  source/...      a file that is run as it came, in a process of its own, or stored logits
    members/<name>/...          an ensemble of any of these, whose logits are the mean of theirs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import _keras
from edgekd._keras import tf
from edgekd.artifact import read_json
from edgekd.errors import DataError
from edgekd.models.foreign import open_foreign
from edgekd.models.given import Input, as_logits, classes_differ

GIVEN_FILE = "given.json"
SOURCE_FOLDER = "source"

Predict = Callable[[NDArray[np.float32], str, NDArray[np.integer]], NDArray[np.float32]]
"""``(pixels (n, s, s, 3) in 0..255, split, sample numbers in it (n,)) -> logits (n, K)``"""


@dataclass(frozen=True)
class Answers:
    """An opened teacher.

    Attributes:
        predict: logits of views; stored ones are found by the sample's number, others look at the pixels.
        model: the Keras network, or None.
    """

    predict: Predict
    model: Any = None


@contextmanager
def open_teacher(folder: Path) -> Iterator[Answers]:
    """Open the teacher of an artifact's folder.

    Raises:
        ModelError: it cannot be opened.
    """
    with ExitStack() as stack:
        if (folder / "members").is_dir():
            members = [stack.enter_context(open_teacher(path)) for path in sorted((folder / "members").iterdir())]
            yield Answers(lambda *views: np.mean([member.predict(*views) for member in members], axis=0))
        elif (folder / GIVEN_FILE).is_file():
            yield Answers(_given(read_json(folder / GIVEN_FILE), folder / SOURCE_FOLDER, stack))
        else:
            model = _keras.load_model(folder / "model")
            compiled = tf.function(lambda pixels: model(pixels, training=False), reduce_retracing=True)
            yield Answers(lambda pixels, split, samples: compiled(tf.constant(pixels)).numpy(), model)


def _given(facts: Mapping[str, Any], source: Path, stack: ExitStack) -> Predict:
    path, title, num_classes = source / facts["file"], facts["title"], facts["num_classes"]
    if facts["kind"] == "logits":
        stored = load_logits(path, facts["num_samples"], num_classes)
        return lambda pixels, split, samples: stored[split][samples]
    model = stack.enter_context(open_foreign(facts["kind"], path, title))
    takes = Input(**{**facts["input"], "size": tuple(facts["input"]["size"])})
    output, head = facts["output"], facts["head"]
    return lambda pixels, split, samples: as_logits(model.run(takes.of(pixels)), output, num_classes, title, head)


def load_logits(path: Path, num_samples: Mapping[str, int], num_classes: int) -> dict[str, NDArray[np.float32]]:
    """Read stored logits and put them into the order of the samples.

    Args:
        path: an NPZ file with, for train, val and test: ``<split>_ids``, whole numbers ``(n,)``, the samples' rows in
            the split; and ``<split>_logits``, ``(n, K)``. Every sample has one row.
        num_samples: of each split.
        num_classes: K.

    Raises:
        DataError: no such arrays, samples that are missing or come twice, numbers that are none.
    """
    found = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f'stored logits "{path.name}" cannot be read ({error})') from None
    for split, count in num_samples.items():
        names = f"{split}_ids", f"{split}_logits"
        missing = [name for name in names if name not in arrays]
        if missing:
            raise DataError(f'stored logits "{path.name}" lack {", ".join(missing)}; there are {", ".join(arrays)}')
        ids, logits = (arrays[name] for name in names)
        if logits.ndim != 2 or logits.shape[1] != num_classes:
            shape = logits.shape[-1] if logits.ndim else 1
            raise DataError(classes_differ(f'"{path.name}" {names[1]}', shape, num_classes))
        if ids.shape != (len(logits),) or not np.array_equal(np.sort(ids), np.arange(count)):
            absent = len(set(range(count)) - set(np.asarray(ids).ravel().tolist()))
            raise DataError(
                f'stored logits "{path.name}": {names[0]} has {ids.size} entries; wanted is each row of {split}, '
                f"0 to {count - 1}, once; {absent} are absent"
            )
        if not np.isfinite(logits).all():
            raise DataError(f'stored logits "{path.name}": {names[1]} holds numbers that are not finite')
        found[split] = logits.astype(np.float32)[np.argsort(ids)]
    return found
