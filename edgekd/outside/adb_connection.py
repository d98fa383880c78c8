"""Talk to an Android device through the system's ``adb``: which device, what it is, files and commands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import BenchmarkError, MissingRequirementError, UserError
from edgekd.outside.bounded import run_bounded
from edgekd.outside.device import text

SECONDS = 120
MAX_BYTES = 16 << 20

_SERIAL = re.compile(r"[\w][\w.:-]{0,99}")
_EXIT = "edgekd-exit-code:"
_STATES = {
    "unauthorized": "it does not trust this computer yet; unlock it and accept the dialogue about USB debugging",
    "offline": "it does not answer; unplug it and plug it in again, or run adb kill-server",
    "no permissions": "this user may not open it; see the udev rules of its maker (Debian: apt install "
    "android-sdk-platform-tools-common)",
}
# ELF e_machine by Android's name of the instruction set.
_MACHINES = {40: "armeabi-v7a", 183: "arm64-v8a", 3: "x86", 62: "x86_64", 243: "riscv64"}


@dataclass(frozen=True)
class AdbDevice:
    """A device that adb reaches: the program and the serial number."""

    adb: str
    serial: str

    def run(self, words: Sequence[str], seconds: float = SECONDS) -> str:
        """Run an adb command on this device; return what it prints, stderr included.

        Raises:
            MissingRequirementError: the device is full.
            BenchmarkError: it failed, or took too long.
        """
        ended = run_bounded([self.adb, "-s", self.serial, *words], seconds=seconds, max_bytes=MAX_BYTES)
        output = ended.output.decode(errors="replace") + ended.errors
        if ended.expired:
            raise BenchmarkError(f"{self.serial} did not answer within {seconds:g} s; lower --runs")
        if "No space left on device" in output:
            raise MissingRequirementError(f"{self.serial} has no space left in /data/local/tmp")
        if ended.code:
            last = text((output.strip().splitlines() or [f"exit code {ended.code}"])[-1])
            raise BenchmarkError(f"adb {words[0]} failed on {self.serial}: {last}")
        return output

    def shell(self, words: Sequence[str], seconds: float = SECONDS) -> tuple[int, str]:
        """Run a command over there, every word quoted for its shell; return its exit code and what it prints.

        Old devices do not pass the exit code on, so the shell over there prints it last.
        """
        output = self.run(["shell", f"{shlex.join(words)}; echo {_EXIT}$?"], seconds)
        rest, _, code = output.rpartition(_EXIT)
        found = re.match(r"\d{1,3}", code)
        if not found:
            raise BenchmarkError(f"{self.serial} ended the command {words[0]} without an exit code; was it unplugged?")
        return int(found[0]), rest


def connect(serial: str | None) -> AdbDevice:
    """Choose the device: the one named, or the only one.

    Raises:
        UserError: a serial number that is none.
        MissingRequirementError: no adb, no device, several, or one that cannot be used yet.
    """
    if serial is not None and not _SERIAL.fullmatch(serial):
        raise UserError(f'--device "adb:{text(serial)}": a serial number is wanted, as `adb devices` prints it')
    adb = shutil.which("adb")
    if adb is None:
        raise MissingRequirementError(
            "--device adb needs the adb program; install it (Debian: apt install adb) or Android's platform-tools"
        )
    ended = run_bounded([adb, "devices"], seconds=SECONDS, max_bytes=MAX_BYTES)
    if ended.code or ended.expired:
        last = text((ended.errors.strip().splitlines() or ["it said nothing"])[-1])
        raise BenchmarkError(f"adb devices failed: {last}")
    found = parse_devices(ended.output.decode(errors="replace"))
    listed = ", ".join(f"{name} ({state})" for name, state in found.items())
    if serial is None:
        if not found:
            raise MissingRequirementError(
                "adb sees no device; plug one in, and switch on USB debugging in its developer options"
            )
        if len(found) > 1:
            raise MissingRequirementError(f"adb sees several devices: {listed}; name one: --device adb:SERIAL")
        serial = next(iter(found))
    if serial not in found:
        raise MissingRequirementError(f"adb does not see {serial}; it sees {listed or 'no device'}")
    state = found[serial]
    if state != "device":
        remedies = (remedy for start, remedy in _STATES.items() if state.startswith(start))
        remedy = next(remedies, "it cannot run programs in this state")
        raise MissingRequirementError(f"{serial} is {state}: {remedy}")
    return AdbDevice(adb, serial)


def parse_devices(output: str) -> dict[str, str]:
    """Read ``adb devices``: below its head a line for each device, its serial number, a tab and its state."""
    lines = output.partition("List of devices attached")[2].splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("*"))
    return {text(pair[0]): text(pair[1].strip()) for pair in pairs if len(pair) == 2}


def abi_of(binary: Path) -> str:
    """Android's name of the instruction set that an ELF program is for.

    Raises:
        UserError: no such file, or no ELF program.
    """
    try:
        with binary.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise UserError(
            f'--benchmark-model "{binary}" cannot be read ({error.strerror}); give the benchmark_model program for the '
            "device, such as the android_aarch64 build of TensorFlow Lite or LiteRT"
        ) from None
    machine = _MACHINES.get(int.from_bytes(head[18:20], "little"))
    if head[:4] != b"\x7fELF" or machine is None:
        raise UserError(f'--benchmark-model "{binary}" is no program for Android (an ELF file is wanted)')
    return machine
