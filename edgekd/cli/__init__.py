"""The command line. Heavy imports stay inside the commands, so that ``edgekd --help`` answers at once."""

from __future__ import annotations

from typing import Any

import click

from edgekd.cli.ablate import ablate
from edgekd.cli.benchmark import benchmark
from edgekd.cli.build import build
from edgekd.cli.bundle import bundle
from edgekd.cli.compress import compress
from edgekd.cli.inspect import inspect
from edgekd.cli.layer_errors import layer_errors
from edgekd.cli.report import report
from edgekd.cli.search import search
from edgekd.cli.sensitivity import sensitivity
from edgekd.cli.target import target
from edgekd.cli.teacher_logits import teacher_logits
from edgekd.cli.verify import verify
from edgekd.errors import EdgekdError

EXIT_INTERRUPTED = 130


class _Group(click.Group):
    """Turns edgekd's errors into one line and their exit code, and names the nearest command for a mistyped one."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except EdgekdError as error:
            click.echo(f"edgekd: {error}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("edgekd: interrupted. Finished stages are kept; the same command goes on from there", err=True)
            context.exit(EXIT_INTERRUPTED)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            from edgekd.errors import did_you_mean

            names = self.list_commands(context)
            raise click.UsageError(f'unknown command "{args[0]}"{did_you_mean(args[0], names)}') from None


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
    build,
    ablate,
    sensitivity,
    compress,
    search,
    teacher_logits,
    benchmark,
    bundle,
    layer_errors,
    report,
    inspect,
    verify,
    target,
):
    main.add_command(_command)
