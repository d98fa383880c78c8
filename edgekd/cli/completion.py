"""``edgekd completion``."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), metavar="SHELL")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what lets SHELL (bash, zsh, fish) complete edgekd's commands and options.

    \b
    bash:  edgekd completion bash >> ~/.bashrc
    zsh:   edgekd completion zsh >> ~/.zshrc
    fish:  edgekd completion fish > ~/.config/fish/completions/edgekd.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell
    script = kind(context.find_root().command, {}, "edgekd", "_EDGEKD_COMPLETE")
    # click's bash class asks the installed bash for its version before it prints; the text needs no bash.
    click.echo(script.source_template % script.source_vars())
