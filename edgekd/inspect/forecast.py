"""What clients and processors are expected to make of a model, by their published tables: a forecast, not a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekd.inspect import tables
from edgekd.inspect.anatomy import computed
from edgekd.inspect.mediapipe import objections as mediapipe_objections
from edgekd.tflite import cost
from edgekd.tflite.metadata_reader import Metadata
from edgekd.tflite.view import Operator, Tensor, View

EIGHT_BITS = ("int8", "uint8")
_INTEGERS = "convert to full INT8 with int8 input and output (quantize.variants: int8_io)"
_OTHER_LAYERS = "build the model of other layers"
# TFLite Micro requantizes and reshapes bytes of any sign; it computes on int8 and int16.
_ANY_SIGN = ("QUANTIZE", "DEQUANTIZE", "RESHAPE")


@dataclass(frozen=True)
class Objection:
    """What a client will not like, and what helps."""

    text: str
    remedy: str


Judge = Callable[[View, Operator], Objection | None]


def forecasts(view: View, metadata: Metadata | None) -> list[dict[str, Any]]:
    """What each client will make of the model.

    Returns:
        ``client``, ``table`` (whose) and ``objections`` (``text``, ``remedy``) each; of a GPU or an NPU
        ``operators_taken`` of ``num_operators``, and ``macs_share``, the part of the multiply-accumulates that it
        takes.
    """
    mediapipe = [Objection(*pair) for pair in mediapipe_objections(view, metadata)]
    return [
        _row("MediaPipe ImageClassifier", tables.MEDIAPIPE_SOURCE, mediapipe),
        *(of_delegate(name, view) for name in DELEGATES),
        _row("TFLite Micro", tables.TFLITE_MICRO_SOURCE, list(grouped(view, tflite_micro))),
    ]


def gpu(view: View, operator: Operator) -> Objection | None:
    """Why an operator stays on the CPU beside LiteRT's GPU delegate; None where the table lets it onto the GPU."""
    if operator.name not in tables.GPU:
        return Objection("not in the table", f"{_OTHER_LAYERS}, or leave it to the CPU")
    # It computes in 16 or 32 bits of float; models in 8 bits are run so too, where the app does not switch it off.
    if wrong := sorted(_types(view, operator) - {"float16", "float32", "bool", *EIGHT_BITS}):
        return Objection(f"{', '.join(wrong)}; floats and 8 bits are taken", "convert to float32 or INT8")
    return _of_shapes(view, operator, most=4, any_batch=True)


def ethos_u55(view: View, operator: Operator) -> Objection | None:
    """Why an operator stays on the CPU beside an Ethos-U55; None where the table lets it onto the NPU."""
    if operator.name not in tables.ETHOS_U55:
        return Objection("not in the table", f"{_OTHER_LAYERS}, or leave it to the CPU")
    wide = ("int32",) if operator.name in tables.ETHOS_U55_32_BITS else ()
    objection = _of_types(view, operator, (*EIGHT_BITS, "int16", *wide))
    if objection is not None:
        return objection
    kernel = _kernel(view, operator)
    if kernel is not None and len(kernel.scale) > 1 and operator.name not in tables.ETHOS_U55_PER_CHANNEL:
        return Objection("weights scaled per channel", "quantize it per tensor")
    alone = operator.name in tables.ETHOS_U55_BATCH_OF_ONE
    return _of_shapes(view, operator, most=None, any_batch=not alone)


def edge_tpu(view: View, operator: Operator) -> Objection | None:
    """Why an operator stays on the CPU beside an Edge TPU; None where the table lets it onto the TPU."""
    if operator.name not in tables.EDGE_TPU:
        return Objection("not in the table", f"{_OTHER_LAYERS}, or leave it to the CPU")
    # "Only the 3 innermost dimensions may have a size greater than 1": four, of which the first is a batch of one.
    return _of_types(view, operator, EIGHT_BITS) or _of_shapes(view, operator, most=4, any_batch=False)


def tflite_micro(view: View, operator: Operator) -> Objection | None:
    """Why TensorFlow Lite Micro will not run an operator."""
    if operator.name not in tables.TFLITE_MICRO:
        return Objection("no kernel for it", _OTHER_LAYERS)
    types, kernel = _types(view, operator), _kernel(view, operator)
    if "float16" in {*types, *(view.tensors[index].dtype for index in operator.inputs if index >= 0)}:
        return Objection("float16", "convert to INT8 or float32")
    if kernel is not None and kernel.scale and "float32" in types:
        return Objection(f"{kernel.dtype} weights on float32 (dynamic range)", _INTEGERS)
    if "uint8" in types and operator.name not in _ANY_SIGN:
        return Objection("uint8, which its kernels no longer take", _INTEGERS)
    return _of_shapes(view, operator, most=6, any_batch=True)


def _types(view: View, operator: Operator) -> set[str]:
    return {view.tensors[index].dtype for index in computed(view, operator)}


def _kernel(view: View, operator: Operator) -> Tensor | None:
    return next((kernel for _, kernel in cost.weights(view, [operator])), None)


def _of_types(view: View, operator: Operator, allowed: tuple[str, ...]) -> Objection | None:
    if wrong := sorted(_types(view, operator) - set(allowed)):
        return Objection(f"{', '.join(wrong)}; {', '.join(allowed)} are taken", _INTEGERS)
    kernel = _kernel(view, operator)
    if kernel is not None and kernel.dtype not in EIGHT_BITS:
        return Objection(f"weights of {kernel.dtype}; 8 bits are taken", _INTEGERS)
    return None


def _of_shapes(view: View, operator: Operator, *, most: int | None, any_batch: bool) -> Objection | None:
    """Shapes that are not fixed, have too many sides, or a batch. A first side that may be any is a batch of one."""
    for index in computed(view, operator):
        shape = view.tensors[index].shape
        if any(side < 0 for side in shape[1:]):
            return Objection("a shape that is not fixed", "convert with a fixed input shape")
        if most is not None and len(shape) > most:
            return Objection(f"{len(shape)} dimensions, more than {most}", "reshape before it")
        if not any_batch and len(shape) == 4 and shape[0] > 1:
            return Objection(f"a batch of {shape[0]}", "convert with a batch of one")
    return None


def grouped(view: View, judge: Judge) -> Iterator[Objection]:
    """Each objection once, with the operators that it concerns."""
    concerned: dict[Objection, Counter[str]] = defaultdict(Counter)
    for operator in view.operators:
        if (objection := judge(view, operator)) is not None:
            concerned[objection][operator.name] += 1
    for objection, counts in concerned.items():
        names = ", ".join(f"{name} x {count}" if count > 1 else name for name, count in counts.most_common())
        yield Objection(f"{names}: {objection.text}", objection.remedy)


def _npu(client: str, table: str, view: View, judge: Judge, *, in_one_piece: bool) -> dict[str, Any]:
    """Which part of the work a GPU or an NPU takes.

    A compiler that works in one piece leaves everything from the first operator that it does not take to the CPU, but
    for a QUANTIZE of the model's input.
    """
    taken = [judge(view, operator) is None for operator in view.operators]
    if in_one_piece:
        cut = next((place for place, good in enumerate(taken) if not good and not _at_input(view, place)), len(taken))
        taken = [good and place < cut for place, good in enumerate(taken)]
    total = cost.macs(view)
    macs = sum(cost.operator_macs(view, step) for step, good in zip(view.operators, taken, strict=True) if good)
    return {
        **_row(client, table, list(grouped(view, judge))),
        "operators_taken": sum(taken),
        "num_operators": len(taken),
        "macs_share": macs / total if total else None,
    }


def _at_input(view: View, place: int) -> bool:
    operator = view.operators[place]
    return operator.name == "QUANTIZE" and operator.inputs[0] in view.input_indices


def _row(client: str, table: str, objections: list[Objection]) -> dict[str, Any]:
    return {"client": client, "table": table, "objections": [asdict(objection) for objection in objections]}


# By the name that a target's profile gives it: what people call it, whose table, how it judges, and whether its
# compiler takes one piece alone.
DELEGATES: Mapping[str, tuple[str, str, Judge, bool]] = {
    "gpu": ("GPU delegate", tables.GPU_SOURCE, gpu, False),
    "ethos_u55": ("Ethos-U55", tables.ETHOS_U55_SOURCE, ethos_u55, False),
    "edge_tpu": ("Edge TPU", tables.EDGE_TPU_SOURCE, edge_tpu, True),
}


def of_delegate(name: str, view: View) -> dict[str, Any]:
    """What one of ``DELEGATES`` is expected to take: a row of :func:`forecasts`."""
    client, table, judge, in_one_piece = DELEGATES[name]
    return _npu(client, table, view, judge, in_one_piece=in_one_piece)
