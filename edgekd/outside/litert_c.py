"""LiteRT's profiler through its C library, by ctypes: ``python -m edgekd.outside.litert_c profile``, in a child.

The Python interface of ai-edge-litert reads no profile. ``libLiteRt.so`` of the wheel exports a compiled model and its
profiler (public headers ``litert_compiled_model.h``, ``litert_profiler.h``, ``litert_profiler_event.h``); the options
that turn profiling on are TOML text. C structs may change between versions, so that only a version with which this was
checked is accepted. A wrong layout could crash; this is a process of its own.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import model_child
from edgekd.errors import MissingRequirementError, ModelError

CHECKED_VERSIONS = ("2.3.0",)
LIBRARIES = {"linux": "libLiteRt.so", "darwin": "libLiteRt.dylib"}
KERNEL_MODES = {"xnnpack": 0, "builtin": 2}  # LiteRtCpuKernelMode
OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR = 1 << 1, 1 << 2, 1 << 3  # LiteRtProfilerEventType
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_TYPE_BYTES = 1024  # more than a LiteRtRankedTensorType, which is passed on unread

Handle = ctypes.c_void_p
Size = ctypes.c_size_t


class MemoryUsage(ctypes.Structure):
    """LiteRtMemoryUsage."""

    _fields_ = tuple((name, Size) for name in ("allocated", "in_use", "private_footprint"))


class Event(ctypes.Structure):
    """ProfiledEventData, 104 bytes on 64-bit systems."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("begin", MemoryUsage),
        ("end", MemoryUsage),
        ("index", ctypes.c_uint64),
        ("metadata", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


def library_path() -> Path:
    """The C library of the installed wheel.

    Raises:
        MissingRequirementError: another version than those checked, or a wheel without the library.
    """
    found = version("ai-edge-litert")
    if found not in CHECKED_VERSIONS:
        raise MissingRequirementError(
            f"--profile reads C structs of ai-edge-litert {', '.join(CHECKED_VERSIONS)}; {found} is installed, and "
            "they may have changed"
        )
    spec = find_spec("ai_edge_litert")
    name = LIBRARIES.get(sys.platform, "")
    if spec is None or spec.origin is None or not name or not (Path(spec.origin).parent / name).is_file():
        raise MissingRequirementError(f"ai-edge-litert {found} has no {name or 'libLiteRt'} on {sys.platform}")
    return Path(spec.origin).parent / name


class Profiled:
    """A compiled model with its profiler. What it holds is freed when the process ends."""

    def __init__(self, model: str, kernel: str, num_threads: int):
        self._library = ctypes.CDLL(str(library_path()))
        environment, file, options = Handle(), Handle(), Handle()
        self._call("LiteRtCreateEnvironment", 0, None, ctypes.byref(environment))
        self._call("LiteRtCreateModelFromFile", environment, model.encode(), ctypes.byref(file))
        self._call("LiteRtCreateOptions", ctypes.byref(options))
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        threads = f"num_threads = {num_threads}\nkernel_mode = {KERNEL_MODES[kernel]}\n"
        self._add(options, b"xnnpack", threads.encode())
        self._model, self._profiler = Handle(), Handle()
        self._call("LiteRtCreateCompiledModel", environment, file, options, ctypes.byref(self._model))
        self._call("LiteRtCompiledModelGetProfiler", self._model, ctypes.byref(self._profiler))
        signature = Handle()
        self._call("LiteRtGetModelSignature", file, Size(0), ctypes.byref(signature))
        self._inputs = self._buffers(environment, signature, "Input")
        self._outputs = self._buffers(environment, signature, "Output")

    def fill(self, values: NDArray[Any]) -> None:
        """Write the input. Raises ModelError where the model has several, or one of another size."""
        size, target = Size(), Handle()
        if len(self._inputs) != 1:
            raise ModelError(f"the model takes {len(self._inputs)} inputs; one can be profiled")
        buffer = Handle(self._inputs[0])
        self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
        if size.value != values.nbytes:
            raise ModelError(f"the model takes {size.value} bytes, not {values.nbytes}")
        self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(target), _WRITE)
        ctypes.memmove(target, np.ascontiguousarray(values).ctypes.data, values.nbytes)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """One inference."""
        inputs, outputs = (Size(len(self._inputs)), self._inputs), (Size(len(self._outputs)), self._outputs)
        self._call("LiteRtRunCompiledModel", self._model, Size(0), *inputs, *outputs)

    def run_profiled(self) -> list[dict[str, Any]]:
        """The events of one inference: ``{"tag", "type", "index", "us"}``, in the order in which they were reported.

        One at a time, since the profiler keeps a bounded number and forgets the oldest.
        """
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            {
                "tag": (event.tag or b"").decode(errors="replace")[:100],
                "type": event.type,
                "index": event.index,
                "us": event.elapsed_us,
            }
            for event in events
        ]

    def _buffers(self, environment: Handle, signature: Handle, side: str) -> Any:
        count = Size()
        self._call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
        made = (Handle * count.value)()
        for index in range(count.value):
            tensor, needs, buffer = Handle(), Handle(), Handle()
            kind = ctypes.create_string_buffer(_TYPE_BYTES)
            self._call(f"LiteRtGetSignature{side}TensorByIndex", signature, Size(index), ctypes.byref(tensor))
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            self._call(
                *(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, Size(0), Size(index)),
                ctypes.byref(needs),
            )
            self._call(
                *("LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, needs), ctypes.byref(buffer)
            )
            made[index] = buffer.value
        return made

    def _add(self, options: Handle, identifier: bytes, text: bytes) -> None:
        """Add options as TOML text; the library frees the copy with C's free."""
        c = ctypes.CDLL(None)
        c.strdup.restype, c.strdup.argtypes = Handle, [ctypes.c_char_p]
        opaque = Handle()
        free = ctypes.cast(c.free, Handle)
        self._call("LiteRtCreateOpaqueOptions", identifier, Handle(c.strdup(text)), free, ctypes.byref(opaque))
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise ModelError(f"LiteRT could not profile the model: {name} gave status {status}")


def profile(request: dict[str, Any]) -> dict[str, Any]:
    """Profile ``model`` on ``images`` (an .npy of inputs): ``{"runs": [[event, ...], ...]}``, one list per inference.

    Args:
        request: ``model``, ``images``, ``kernel``, ``num_threads``, ``warmup_runs``, ``num_runs``.
    """
    model = Profiled(request["model"], request["kernel"], request["num_threads"])
    images = np.load(request["images"], allow_pickle=False)
    for run in range(request["warmup_runs"]):
        model.fill(images[run % len(images)])
        model.run()
    runs = []
    for run in range(request["num_runs"]):
        model.fill(images[run % len(images)])
        runs.append(model.run_profiled())
    return {"runs": runs, "litert": version("ai-edge-litert")}


if __name__ == "__main__":
    model_child.main({"profile": profile})
