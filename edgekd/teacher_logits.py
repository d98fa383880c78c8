"""The teacher's logits by several workers: each does some shards, whoever comes last makes the store of them.

They meet in the cache, which for several machines lies on a disk that they share. A shard is the same bytes whoever
makes it, so that a worker that was killed, or two at the same shard, do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd import pipeline
from edgekd.cache import Cache
from edgekd.errors import UserError
from edgekd.logits_store import Part, PartDone
from edgekd.preflight import skipped_stages
from edgekd.progress import Progress
from edgekd.recipe import Recipe

STAGE = "teacher_logits"


@dataclass(frozen=True)
class Done:
    """How far the store is.

    Attributes:
        complete: whether it is there, for a build to take.
        num_finished, num_shards: shards that are there, and of the store; 0 where it was complete before.
    """

    complete: bool
    num_finished: int = 0
    num_shards: int = 0


def teacher_logits(recipe_: Recipe, part: Part, *, cache: Cache, progress: Progress | None = None) -> Done:
    """Do one worker's shards of the teacher's logits; the teacher is trained first where the cache has none.

    Args:
        recipe_: validated; ``num_threads`` is part of the result, so that all workers have to have the same.
        part: which shards.
        cache: where the workers meet.
        progress: where the work is shown.

    Raises:
        UserError: the recipe stores no logits.
        EdgekdError: as a build of it.
    """
    if STAGE in skipped_stages(recipe_):
        raise UserError(
            f'distill.mode = "{recipe_.distill.mode}", distill.hard_loss_weight = '
            f"{recipe_.distill.hard_loss_weight:g}: this recipe stores no logits of a teacher"
        )
    try:
        pipeline.artifacts(recipe_, cache=cache, progress=progress, until=STAGE, part=part)
    except PartDone as done:
        return Done(False, done.num_finished, done.num_shards)
    return Done(True)


def parse_part(text: str) -> Part:
    """Read ``i/n``: worker ``i`` of ``n``, counted from 1.

    Raises:
        UserError: anything else.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or not 1 <= int(index) <= int(count):
        raise UserError(f'--shard "{text}": worker i of n is wanted, from 1/n to n/n, like 2/3')
    return Part(int(index) - 1, int(count))
