"""Device profiles: what a model is run on, what it may take there, what its figures are. Data, in ``targets/*.toml``.

A profile of one's own is a TOML file of the same keys, named by its path.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from edgekd.errors import RecipeError, did_you_mean
from edgekd.options import option, read_table

MEASURED, EMULATED, CHECKED = FIGURES = ("measured", "emulated", "checked")
LITERT, TFLITE_MICRO = RUNTIMES = ("litert", "tflite_micro")
DELEGATES = ("gpu", "ethos_u55", "edge_tpu")
SAVED_MODEL, ONNX = EXPORTS = ("saved_model", "onnx")
ARM64_EMULATED = "arm64-emulated"
ACCELERATORS = ("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256")
_SYSTEMS = ("Ethos_U55_High_End_Embedded", "Ethos_U55_Deep_Embedded")
_MEMORIES = ("Shared_Sram", "Sram_Only")
_KERNELS = ("xnnpack", "builtin", "reference")
_TYPES = ("bool", "float16", "float32", "int8", "int16", "int32", "int64", "uint8")


@dataclass(frozen=True)
class Limits:
    """What a model may take on the target."""

    max_tflite_bytes: int | None = option(None, "largest file, in bytes: flash, or a download", minimum=1)
    max_memory_bytes: int | None = option(
        None, "memory for the file and for the tensors that live at once, in bytes", minimum=1
    )
    max_arena_bytes: int | None = option(None, "memory for the tensors that live at once, in bytes", minimum=1)
    max_p50_ms: float | None = option(
        None, "largest median latency of an inference, in milliseconds; of targets that are measured", above=0
    )
    operators: tuple[str, ...] = option(
        (), "operators that may occur, in the names of edgekd inspect; empty: all that the runtime has"
    )
    types: tuple[str, ...] = option((), "number types that may flow between operators; empty: any", choices=_TYPES)


@dataclass(frozen=True)
class Npu:
    """The Ethos-U of a target, and the system around it as Arm's Vela knows it (its ``Arm/vela.ini``)."""

    accelerator: str = option("", "that Arm's Vela compiles for (extra npu); empty: none", choices=("", *ACCELERATORS))
    system: str = option(_SYSTEMS[0], "clock and bandwidths that Vela's estimates suppose", choices=_SYSTEMS)
    memory: str = option(_MEMORIES[0], "where Vela puts what: Shared_Sram or Sram_Only", choices=_MEMORIES)


@dataclass(frozen=True)
class Target:
    """One profile."""

    name: str = option("", "of the profile: that of its file")
    description: str = option("", "the target in a sentence")
    figures: str = option(
        MEASURED, "measured (latency on this machine), emulated or checked (no latency)", choices=FIGURES
    )
    instead: str = option("", "how to get figures where there are none on this machine")
    runtime: str = option(LITERT, "litert or tflite_micro", choices=RUNTIMES)
    kernel: str = option("xnnpack", "xnnpack, builtin or reference", choices=_KERNELS)
    num_threads: int = option(1, "threads of the interpreter", minimum=1, maximum=1024)
    pin_cpus: tuple[int, ...] = option((), "processors to pin to, by number; empty pins nothing", minimum=0)
    limits: Limits = field(default_factory=Limits)
    npu: Npu = field(default_factory=Npu)
    forecasts: tuple[str, ...] = option((), "delegates whose published tables are asked: a forecast", choices=DELEGATES)
    exports: tuple[str, ...] = option(
        (), "forms for a server that are made, checked and timed in batches: saved_model, onnx", choices=EXPORTS
    )
    batch_sizes: tuple[int, ...] = option(
        (1, 2, 4, 8, 16, 32, 64), "images at a time that the exports are timed with", minimum=1, maximum=4096
    )

    @property
    def only_variant(self) -> str:
        """The one variant that its runtime takes, integers in and out, and so what is shipped; empty: any."""
        return "int8_io" if self.runtime == TFLITE_MICRO else ""

    @property
    def limited(self) -> bool:
        """Whether a model may fail to fit."""
        return self.limits != Limits() or self.runtime != LITERT

    @property
    def asks(self) -> bool:
        """Whether there is anything to hold a model against."""
        return self.limited or bool(self.forecasts)


def names() -> list[str]:
    """The profiles that come with the package."""
    folder = resources.files("edgekd") / "targets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str) -> Target:
    """Read a profile by name, or one of the user's own by the path of its TOML file.

    Raises:
        RecipeError: an unknown name, no such file, an unknown key or a value that is not allowed.
    """
    path, known = Path(name_or_path), names()
    if name_or_path in known:
        name = name_or_path
        text = (resources.files("edgekd") / "targets" / f"{name}.toml").read_text(encoding="utf-8")
    elif path.suffix == ".toml":
        name, text = path.stem, _own(path, known)
    else:
        hint = did_you_mean(name_or_path, known)
        raise RecipeError(f'unknown target "{name_or_path}"{hint} (or the path of a profile of your own, *.toml)')
    title = f'target "{name_or_path}"'
    try:
        table = tomllib.loads(text)
        profile = read_table(Target, {**table, "name": name})
        _check(profile)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{title} is not valid TOML: {error}") from None
    except RecipeError as error:
        raise RecipeError(f"{title}: {error}") from None
    return profile


def why_not_timed(profile: Target) -> str | None:
    """Why a profile has no latency on this machine, and what to do; None where it has."""
    if profile.figures == MEASURED:
        return None
    reason = {
        EMULATED: "is emulated, and emulated time is no device's",
        CHECKED: "is only checked: it is another machine than this one",
    }[profile.figures]
    return f'latency on target "{profile.name}": the target {reason}{"; " if profile.instead else ""}{profile.instead}'


def timed(name_or_path: str) -> Target:
    """A profile for a benchmark on this machine; raise RecipeError where it has no latency here."""
    profile = load(name_or_path)
    if (reason := why_not_timed(profile)) is not None:
        raise RecipeError(reason)
    return profile


def _own(path: Path, known: list[str]) -> str:
    if path.stem in known:
        raise RecipeError(f'target "{path}": "{path.stem}" is a built-in profile; give the file another name')
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f'target "{path}": no such file; built-in targets: {", ".join(known)}') from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f'target "{path}" cannot be read: {error}') from None


def _check(profile: Target) -> None:
    if not profile.description:
        raise RecipeError('description = "": say in a sentence what the target is')
    if profile.runtime == TFLITE_MICRO and profile.figures == MEASURED:
        raise RecipeError(
            f'figures = "{MEASURED}": latency of runtime = "{TFLITE_MICRO}" is not measured here; '
            f'set figures = "{CHECKED}"'
        )
    if profile.limits.max_p50_ms is not None and profile.figures != MEASURED:
        raise RecipeError(
            f'limits.max_p50_ms = {profile.limits.max_p50_ms:g}: with figures = "{profile.figures}" nothing is timed '
            "on this machine; leave it out"
        )
    if profile.npu.accelerator and profile.runtime != TFLITE_MICRO:
        raise RecipeError(
            f'npu.accelerator = "{profile.npu.accelerator}": what stays on the CPU is run by TensorFlow Lite Micro; '
            f'set runtime = "{TFLITE_MICRO}"'
        )
    if profile.exports and profile.figures != MEASURED:
        raise RecipeError(
            f'exports = {list(profile.exports)}: a server is timed on this machine; set figures = "{MEASURED}"'
        )
    if ONNX in profile.exports and SAVED_MODEL not in profile.exports:
        raise RecipeError('exports = ["onnx"]: is made from the SavedModel; name saved_model too')
    if profile.exports and not profile.batch_sizes:
        raise RecipeError("batch_sizes = []: name at least one")
    if profile.limits.operators:
        from edgekd._litert import schema

        there = [name for name in vars(schema().BuiltinOperator) if name.isupper()]
        for name in profile.limits.operators:
            if name not in there:
                raise RecipeError(f'limits.operators: unknown operator "{name}"{did_you_mean(name, there)}')
