"""Training by several processes at once, through ``tf.distribute.MultiWorkerMirroredStrategy``.

Every worker runs the same program on the same weights. A step divides its batch among them: each shows its networks a
slice, the logits are gathered, so that every loss is that of the whole batch, and the gradients are averaged. The
variables are ordinary ones and stay alike because all start from the chief's and all take the same steps: evaluating,
pruning and converting a model then works as it does in one process. What is decided, the chief decides.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from edgekd._keras import tf
from edgekd.cluster import Cluster
from edgekd.errors import UserError, WorkerError

Value = TypeVar("Value")

_PACK = 1 << 20
"""Numbers of a message of gradients: 100 MB in one take nearly twice as long as in pieces of 4 MB."""
_GROUP = 0x6B64  # apart from those of the strategy, which counts from 1
_messages = itertools.count(1)  # all workers trace the same functions in the same order


class Workers:
    """This process, number ``index`` of ``count``, of which the first is the chief. The class itself works alone."""

    def __init__(self, count: int = 1, index: int = 0):
        self.count, self.index = count, index

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, cache entries and the run folder."""
        return self.index == 0

    def own(self, batch: Any) -> Any:
        """This worker's samples of nested arrays that hold a whole batch, shape ``(n, ...)``."""
        return batch

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in which :func:`gather` and :func:`mean` reach all workers; inside a ``tf.function``."""
        return function(*args)

    def from_chief(self, make: Callable[[], Value]) -> Value:
        """What ``make`` gives on the chief, where alone it is called: numbers, texts, lists and dictionaries."""
        return make()

    def take_from_chief(self, variables: Iterable[Any]) -> None:
        """Set variables to the values that they have on the chief."""

    def meet(self) -> None:
        """Wait until all workers are here."""

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Say plainly where the block fails because another worker is gone.

        Raises:
            WorkerError: another worker has ended, or cannot be reached.
        """
        yield


ALONE = Workers()


class Together(Workers):
    """One of several workers; made by :func:`join`."""

    def __init__(self, cluster: Cluster, strategy: Any):
        super().__init__(len(cluster), cluster.index)
        self.cluster, self.strategy = cluster, strategy
        self._sum = tf.function(lambda value: strategy.run(_total, (value,)))

    def own(self, batch: Any) -> Any:
        """See :meth:`Workers.own`; consecutive samples, whose numbers differ by one at most among the workers."""

        def part(array: Any) -> Any:
            return array[bound(len(array), self.index, self.count) : bound(len(array), self.index + 1, self.count)]

        return tf.nest.map_structure(part, batch)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """See :meth:`Workers.run`."""
        return self.strategy.run(function, args)

    def from_chief(self, make: Callable[[], Value]) -> Value:
        """See :meth:`Workers.from_chief`."""
        text = json.dumps(make()).encode() if self.is_chief else b""
        length = int(self._from_chief(np.array([len(text)], np.int64))[0])
        sent = np.frombuffer(text, np.uint8).astype(np.int32) if self.is_chief else np.zeros(length, np.int32)
        found: Value = json.loads(self._from_chief(sent).astype(np.uint8).tobytes())
        return found

    def take_from_chief(self, variables: Iterable[Any]) -> None:
        """See :meth:`Workers.take_from_chief`."""
        for variable in variables:
            variable.assign(self._from_chief(variable.numpy()))

    def meet(self) -> None:
        """See :meth:`Workers.meet`."""
        self._from_chief(np.zeros(1, np.int32))

    def _from_chief(self, array: Any) -> Any:
        with self.noticing():
            return self._sum(tf.constant(array if self.is_chief else np.zeros_like(array))).numpy()

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """See :meth:`Workers.noticing`; TensorFlow says that a collective operation was aborted."""
        try:
            yield
        except _GONE as error:
            named = re.search(r"/task:(\d+)", str(error))
            who = self.cluster.title(int(named[1])) if named else "another worker"
            raise WorkerError(
                f"{who} has ended or cannot be reached, so that this one, {self.index + 1} of {self.count}, ends too. "
                "Finished stages and the last checkpoint are kept: start all workers again, and they go on from there"
            ) from None


_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


def join(cluster: Cluster) -> Together:
    """Connect this process with the others, which do the same; TensorFlow must not have computed anything yet.

    Raises:
        UserError: more than one GPU for one worker, or too few for the workers of this machine.
        WorkerError: TensorFlow could not connect them.
    """
    _choose_gpu(cluster)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        return Together(cluster, tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver))
    except (tf.errors.OpError, RuntimeError) as error:
        raise WorkerError(f"{cluster.title(cluster.index)} cannot be connected: {str(error).splitlines()[0]}") from None


def gather(own: Any, num_samples: Any) -> Any:
    """What all workers have of a batch, in its order; alone, what is given. Gradients flow back to where it came from.

    Args:
        own: of this worker's samples, shape ``(own samples, ...)``.
        num_samples: of the batch.
    """
    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync
    if count == 1:
        return own
    start = bound(num_samples, context.replica_id_in_sync_group, count)
    after = num_samples - start - tf.shape(own)[0]
    whole = tf.pad(own, [[start, after], *[[0, 0]] * (len(own.shape) - 1)])
    # The others' rows are zeros here, so that the sum of all is the batch, exactly.
    return tf.ensure_shape(_total(whole), [num_samples, *own.shape[1:]])


def mean(gradients: Sequence[Any]) -> list[Any]:
    """The mean over the workers of tensors that each has, None among them; alone, what is given.

    Where each worker has the gradient of the whole loss by its own samples, times their number, this is that of one.
    """
    count = tf.distribute.get_replica_context().num_replicas_in_sync
    if count == 1:
        return list(gradients)
    means: list[Any] = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    for pack in _packs(means):
        parts = [means[index] for index in pack]
        flat = _total(tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)) / count
        slices = tf.split(flat, [part.shape.num_elements() for part in parts])
        for index, part, own in zip(pack, parts, slices, strict=True):
            means[index] = tf.reshape(own, part.shape)
    return means


def _packs(gradients: Sequence[Any]) -> list[list[int]]:
    """Which gradients travel together: the last first, as they are computed, up to so many numbers a message."""
    packs: list[list[int]] = []
    room = 0
    for index in reversed(range(len(gradients))):
        if gradients[index] is not None:
            size = gradients[index].shape.num_elements()
            if size > room:
                packs.append([])
                room = _PACK
            packs[-1].append(index)
            room -= size
    return packs


def everyones(own: Any) -> Any:
    """What each worker has, in their order, of a small tensor whose shape they share: ``(...) -> (workers, ...)``.

    No gradient flows through it. Small sums are taken of it because a message that gathers takes half as long as one
    that reduces, which goes around twice.
    """
    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync
    if count == 1:
        return own[None]
    if tf.config.get_visible_devices("GPU"):
        # NCCL wants the same order of messages everywhere, which the strategy alone keeps.
        place = tf.one_hot(context.replica_id_in_sync_group, count, dtype=own.dtype)
        return _total(tf.tensordot(place, own, axes=0))
    found = tf.raw_ops.CollectiveGatherV2(
        input=tf.identity(own)[None],
        group_size=count,
        group_key=_GROUP,
        instance_key=next(_messages),
        ordering_token=[],
    )
    return tf.ensure_shape(found, [count, *own.shape])


def bound(num_samples: Any, index: Any, count: int) -> Any:
    """Where the slice of a worker begins in a batch, and that of the one before it ends."""
    return index * num_samples // count


def _total(value: Any) -> Any:
    # The identity places the value on this worker's device; where an argument of a function lies is not known.
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))


def _choose_gpu(cluster: Cluster) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    if cluster.local and gpus:
        if len(gpus) < len(cluster):
            raise UserError(f"--workers {len(cluster)}: this machine has {len(gpus)} GPUs, and each worker takes one")
        tf.config.set_visible_devices(gpus[cluster.index], "GPU")
    elif len(gpus) > 1:
        raise UserError(
            f"{cluster.title(cluster.index)} sees {len(gpus)} GPUs; start a worker for each, and give each its own "
            "with CUDA_VISIBLE_DEVICES"
        )
