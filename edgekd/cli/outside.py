"""The options of ``edgekd benchmark`` that look outside: other runtimes and tools, operators, and real devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli import outside_tables as tables
from edgekd.cli.output import printable

if TYPE_CHECKING:
    from edgekd.data.source import Pictures
    from edgekd.outside.session import Session
    from edgekd.progress import Progress

FILE = click.Path(path_type=Path)
OPTIONS = (
    click.option(
        "--profile", is_flag=True, help="Where the time goes: the ten slowest operators, and which run in XNNPACK."
    ),
    click.option(
        "--onnx-runtime", is_flag=True, help="The same INT8 model in ONNX Runtime: its answers, then its time."
    ),
    click.option("--litert-benchmark", is_flag=True, help="The same file with LiteRT's own tool, in the same session."),
    click.option("--device", metavar="DEVICE", help="Measure there: ssh:USER@HOST[:PORT], adb, or adb:SERIAL."),
    click.option(
        "--device-python", default="python3", show_default=True, help="With ssh: its Python, from the login folder on."
    ),
    click.option("--ssh-config", type=FILE, help="With ssh: a configuration in the place of ~/.ssh/config."),
    click.option("--benchmark-model", type=FILE, help="With adb: benchmark_model of TensorFlow Lite for the device."),
)


def outside_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    profile: bool
    onnx_runtime: bool
    litert_benchmark: bool
    device: str | None
    device_python: str
    ssh_config: Path | None
    benchmark_model: Path | None
    session: tuple[int, int, int, int]
    target: str
    pictures: Pictures | None

    def _session(self) -> Session:
        from edgekd.outside.session import Session

        return Session(*self.session)

    def check(self, models: Mapping[str, Path]) -> None:
        """Raise for what is missing here, before anything is measured."""
        from edgekd import target
        from edgekd.errors import UserError
        from edgekd.op_profile import require
        from edgekd.outside import litert_tool, onnx_runtime

        for name, value in (("--ssh-config", self.ssh_config), ("--benchmark-model", self.benchmark_model)):
            if value is not None:
                raise UserError(f"{name} is for a device; add --device ssh:HOST or --device adb")
        if self.profile:
            require(target.timed(self.target).kernel)
        if self.onnx_runtime:
            _each(models, onnx_runtime.require)
        if self.litert_benchmark:
            litert_tool.find_tool()

    def measure(self, models: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
        """Measure here what was asked for; by the option's name, and by model, as ``--json`` prints it."""
        from edgekd import op_profile, target
        from edgekd.outside import litert_tool, onnx_runtime

        session, facts = self._session(), {}
        if self.profile:
            profile = target.timed(self.target)
            kernel, threads = profile.kernel, profile.num_threads
            facts["operators"] = {
                name: op_profile.profile(
                    path, session, kernel=kernel, num_threads=threads, pictures=self.pictures
                ).as_json()
                for name, path in models.items()
            }
        if self.onnx_runtime:
            facts["onnx_runtime"] = _each(
                models,
                lambda path: onnx_runtime.compare(path, session, pictures=self.pictures, progress=progress).as_json(),
            )
        if self.litert_benchmark:
            facts["litert_benchmark"] = {
                name: litert_tool.compare(path, session, pictures=self.pictures, progress=progress).as_json()
                for name, path in models.items()
            }
        return facts

    def show(self, facts: Mapping[str, Any]) -> None:
        """Print what :meth:`measure` found."""
        for name, row in facts.get("operators", {}).items():
            tables.show_operators(name, row)
        if "onnx_runtime" in facts:
            tables.show_onnx(facts["onnx_runtime"])
        if "litert_benchmark" in facts:
            tables.show_tool(facts["litert_benchmark"])

    def measure_on_device(self, models: Mapping[str, Path], as_json: bool, progress: Progress) -> None:
        """Measure on the device and print it."""
        from edgekd import target
        from edgekd.errors import UserError, did_you_mean

        kind, _, address = str(self.device).partition(":")
        if kind not in ("ssh", "adb"):
            raise UserError(f'--device "{printable(str(self.device))}"{did_you_mean(kind, ["ssh", "adb"])}')
        here = [("--onnx-runtime", self.onnx_runtime), ("--litert-benchmark", self.litert_benchmark)]
        here += [("--profile", self.profile and kind == "ssh")]
        there = [("--benchmark-model", kind == "ssh" and self.benchmark_model is not None)]
        there += [("--ssh-config", kind == "adb" and self.ssh_config is not None)]
        there += [("--data or --images", kind == "adb" and self.pictures is not None)]
        for name, given in here + there:
            if given:
                raise UserError(f"{name} does not go with --device {kind}; leave one of them out")
        profile, facts = target.load(self.target), {}
        if kind == "ssh":
            from edgekd.outside import ssh
            from edgekd.outside.ssh_connection import parse_address

            host = parse_address(address, python=self.device_python, config=self.ssh_config)
            report = ssh.measure(host, models, self._session(), profile, pictures=self.pictures)
        else:
            from edgekd.outside import adb

            report, operators = adb.measure(
                address or None,
                self.benchmark_model,
                models,
                self._session(),
                profile,
                operators=self.profile,
                progress=progress,
            )
            facts = {name: {"operators": [vars(row) for row in rows]} for name, rows in operators.items()}
        document = {**report.as_json(), **({"operators": facts} if facts else {})}
        if as_json:
            click.echo(json.dumps(document, indent=2))
            return
        tables.show_device(report)
        for name, row in facts.items():
            tables.show_operators(name, row)


def _each(models: Mapping[str, Path], measure: Callable[[Path], Any]) -> dict[str, Any]:
    """Measure every model that can be; of the others the reason. Raises ModelError where none can be."""
    from edgekd.errors import ModelError

    found: dict[str, Any] = {}
    refusals = []
    for name, path in models.items():
        try:
            found[name] = measure(path)
        except ModelError as error:
            refusals.append(error)
            found[name] = {"not_compared": str(error)}
    if len(refusals) == len(found):
        raise refusals[0]
    return found
