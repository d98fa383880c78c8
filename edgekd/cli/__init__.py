"""The command line. Heavy imports stay inside the commands, so that ``edgekd --help`` answers at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from edgekd.cli.ablate import ablate
from edgekd.cli.benchmark import benchmark
from edgekd.cli.build import build
from edgekd.cli.bundle import bundle
from edgekd.cli.cache import cache
from edgekd.cli.completion import completion
from edgekd.cli.compress import compress
from edgekd.cli.data import data
from edgekd.cli.doctor import doctor
from edgekd.cli.init import init
from edgekd.cli.inspect import inspect
from edgekd.cli.layer_errors import layer_errors
from edgekd.cli.nas import nas
from edgekd.cli.report import report
from edgekd.cli.search import search
from edgekd.cli.sensitivity import sensitivity
from edgekd.cli.target import target
from edgekd.cli.teacher_logits import teacher_logits
from edgekd.cli.verify import verify
from edgekd.errors import EdgekdError

EXIT_INTERRUPTED = 130
_SAFE_PATH = "PYTHONSAFEPATH"
_WORDS = "edgekd.words"  # what was typed


class _Group(click.Group):
    """Turns edgekd's errors into one line and their exit code, and names the nearest command for a mistyped one."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with _working_folder_kept_out(), _terminated_as_interrupted():
                return super().invoke(context)
        except EdgekdError as error:
            click.echo(f"edgekd: {error}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt as error:
            click.echo(_farewell(error, context.meta.get(_WORDS, ())), err=True)
            context.exit(EXIT_INTERRUPTED)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[_WORDS] = tuple(args)
        return super().parse_args(context, args)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            from edgekd.errors import did_you_mean

            names = self.list_commands(context)
            raise click.UsageError(f'unknown command "{args[0]}"{did_you_mean(args[0], names)}') from None


@contextmanager
def _working_folder_kept_out() -> Iterator[None]:
    """Have child processes import nothing from the working folder.

    ``python -m`` looks there first, and what lies beside a stranger's images may be called ``numpy.py``. Only where
    edgekd itself is run from there, uninstalled, there is no other way. Whoever calls the command from their own
    program has their environment back afterwards.
    """
    before = os.environ.get(_SAFE_PATH)
    if Path(__file__).resolve().parents[2] != Path.cwd().resolve():
        os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SAFE_PATH, None)
        else:
            os.environ[_SAFE_PATH] = before


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a SIGTERM end a command as Ctrl-C does; elsewhere than in the main thread no signal can be had."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _farewell(error: KeyboardInterrupt, words: tuple[str, ...]) -> str:
    """What an interrupted command leaves, and how to go on."""
    import shlex

    notes = getattr(error, "__notes__", None)
    where = f"interrupted {'; '.join(notes)}" if notes else "interrupted. Finished stages are kept"
    return f"edgekd: {where}. To go on: {shlex.join(['edgekd', *words])}"


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import edgekd

        click.echo(f"edgekd {edgekd.__version__}")
        context.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """From labelled medical images to a small, proven .tflite in one command.

    Exit codes: 0 built and every gate held; 1 a gate fell short; 2 the input was wrong; 3 the environment lacks
    something; 130 interrupted.
    """


for _command in (
    *(init, build, ablate, sensitivity, compress, search, nas, teacher_logits, benchmark, bundle, layer_errors, report),
    *(data, inspect, verify, target, cache, doctor, completion),
):
    main.add_command(_command)
