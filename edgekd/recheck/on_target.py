"""What a profile promises of a run's models: its limits, and the answers of the target's own kernels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import micro, vela
from edgekd.arm64 import compare, emulator
from edgekd.arm64.compare import Compared
from edgekd.arm64.install import installed
from edgekd.cache import default_root
from edgekd.claims import INTEGER
from edgekd.config.data import Data
from edgekd.data import Dataset, prepare
from edgekd.errors import DataError, ModelError, UserError, did_you_mean
from edgekd.manifest import MODEL_FILE, parse_golden
from edgekd.recheck.bundle import manifest_of
from edgekd.recheck.check import Check, all_or_faults
from edgekd.recheck.report import intact_models, report_of
from edgekd.runtime import file_faults
from edgekd.stages.fit import against
from edgekd.target import ARM64_EMULATED, TFLITE_MICRO, Target, load
from edgekd.tflite import cost
from edgekd.tflite.view import open_view

FLOAT_TOLERANCE = 1e-6
"""Of a probability: exponentials in floating point follow the processor in their last bits."""


@dataclass(frozen=True)
class OnTarget:
    """How models are run on a target.

    Attributes:
        profile: the target.
        num_images: at most so many.
        cache: where its user land was laid.
        cpu: the processor of ``arm64-emulated``.
    """

    profile: Target
    num_images: int
    cache: Path
    cpu: str

    @classmethod
    def named(cls, name: str, num_images: int, cpu: str | None, cache: Path | None) -> OnTarget:
        """By names. Raises UserError for an unknown target or processor, or a processor of another target."""
        profile = load(name)
        if cpu is not None and profile.name != ARM64_EMULATED:
            raise UserError(f"--cpu {cpu}: the processor of {ARM64_EMULATED}; target {profile.name} has none to choose")
        if cpu is not None and cpu not in emulator.CPUS:
            raise UserError(f'--cpu "{cpu}" is not known{did_you_mean(cpu, emulator.CPUS)}')
        return cls(profile, num_images, cache or default_root(), cpu or emulator.DEFAULT_CPU)

    def require(self) -> None:
        """Raise MissingRequirementError where what the target needs is not installed."""
        if self.profile.name == ARM64_EMULATED:
            compare.require(self.cache)
        if self.profile.runtime == TFLITE_MICRO:
            micro.require()
        if self.profile.npu.accelerator:
            vela.require()


def on_target(bundle: Path, run: Path | None, data: Data | None, target: OnTarget) -> Iterator[Check]:
    """Hold the models of a run, or the one of a bundle, against a profile, and run them there.

    Args:
        bundle: folder of the bundle; its goldens are run where there are no data.
        run: the run, or None for a bundle by itself.
        data: whose test split is run; None: not at hand.
        target: where.
    """
    about = f"target {target.profile.name}"
    models, shipped = _models(bundle, run)
    only = target.profile.only_variant
    id = f"student_{only}" if only else shipped
    if id not in models:
        yield Check(about, None, f"{id} is not there, or not the file that was measured; name a run that has it")
        return
    try:
        images, source = _images(bundle, data, target.num_images)
    except DataError as error:
        yield Check(about, None, str(error))
        return
    try:
        found = against(id, models[id], images, target.profile)
        held = [f"{row['id']} {row['measured']:,} of {row['limit']:,}" for row in found["limits"]]
        yield from all_or_faults(about, found["reasons"], f"{id} keeps every limit: {', '.join(held)}")
        if found["micro"] is not None:
            yield from _of_micro(about, id, found["micro"], source)
        if target.profile.npu.accelerator:
            with tempfile.TemporaryDirectory() as folder:
                made = vela.compile_for(target.profile.npu, models[id], Path(folder) / "compiled.tflite")
            yield Check(about, True, f"{id}: {vela.in_words(made)}. {vela.estimates_in_words(made)}")
        if target.profile.name == ARM64_EMULATED:
            chosen = {name: models[name] for name in (shipped, INTEGER) if name in models}
            yield from _of_arm64(about, chosen, images, source, target)
    except ModelError as error:
        yield Check(about, False, str(error))


def _models(bundle: Path, run: Path | None) -> tuple[Mapping[str, Path], str]:
    """Files whose digests are right, by id, and the id of the one that is shipped."""
    if run is not None:
        document, _ = report_of(run)
        if document is None:
            return {}, MODEL_FILE
        shipped = next((row["id"] for row in document["models"] if row["shipped"]), MODEL_FILE)
        return intact_models(run, document), shipped
    manifest, _ = manifest_of(bundle)
    sound = manifest is not None and MODEL_FILE not in file_faults(bundle, manifest)
    return ({MODEL_FILE: bundle / MODEL_FILE} if sound else {}), MODEL_FILE


def _images(bundle: Path, data: Data | None, most: int) -> tuple[NDArray[np.uint8], str]:
    """Images of the test split, evenly taken, or the golden inputs."""
    if data is not None:
        with tempfile.TemporaryDirectory() as name:
            images = Dataset.open(prepare(data, Path(name))).test.images
            chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int))
            return np.array(images[chosen]), f"{len(chosen)} test images"
    manifest, _ = manifest_of(bundle)
    if manifest is None or any(name.startswith("golden/") for name in file_faults(bundle, manifest)):
        raise DataError(f'"{bundle}": no sound golden inputs to run; name the data with --data')
    golden = parse_golden((bundle / manifest["golden"]).read_bytes(), manifest, str(bundle))
    shape: Any = (manifest["preprocessing"]["size"], manifest["preprocessing"]["size"], 3)
    inputs = [np.fromfile(bundle / row["input"], np.uint8).reshape(shape) for row in golden["vectors"][:most]]
    return np.stack(inputs), f"{len(inputs)} golden inputs"


def _of_micro(about: str, id: str, ran: Mapping[str, Any], source: str) -> Iterator[Check]:
    if not ran["num_different"]:
        text = f"{id}: TensorFlow Lite Micro {ran['version']} answers {source} as the reference kernels do, bit for bit"
        yield Check(about, True, text)
    yield Check(about, True, f"{id}: the smallest arena that it ran in has {ran['arena_bytes']:,} bytes (64-bit host)")


def _of_arm64(
    about: str, models: Mapping[str, Path], images: NDArray[np.uint8], source: str, target: OnTarget
) -> Iterator[Check]:
    whole = {id: path for id, path in models.items() if cost.dtype(open_view(path)) in ("int8", "int16x8")}
    for id in sorted(set(models) - set(whole)):
        yield Check(about, None, f"{id} has layers in floating point, which follow the processor in their last bits")
    if not whole:
        return
    where = f"{target.cpu}, {emulator.version(emulator.find())}"
    for found in compare.compare(whole, images, installed(target.cache), target.cpu):
        yield _verdict(about, found, source, where)


def _verdict(about: str, found: Compared, source: str, where: str) -> Check:
    title = f"{found.model}, {found.kernel} kernels ({where})"
    if found.integers:
        if not found.num_different:
            return Check(about, True, f"{title}: the integers are those of this machine on {source}, bit for bit")
        text = f"other integers than on this machine on {found.num_different} of {source}, by up to "
        text += f"{found.largest_difference:g} units; do not ship before this is understood"
        return Check(about, False, f"{title}: {text}")
    held = found.largest_difference <= FLOAT_TOLERANCE
    text = f"probabilities differ by at most {found.largest_difference:.1g} on {source}, {FLOAT_TOLERANCE:g} is allowed"
    return Check(about, held, f"{title}: {text}")
