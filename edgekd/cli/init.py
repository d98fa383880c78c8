"""``edgekd init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.options import CACHE_DIR
from edgekd.cli.output import printable, start_output

if TYPE_CHECKING:
    from edgekd.init import Answers, Seen


@click.command()
@click.argument("data", required=False, metavar="DATA")
@click.option("--out", type=click.Path(path_type=Path), help="The recipe to write. Default: <name of the data>.toml.")
@click.option("--target", metavar="NAME", help="Device profile: host, host-as-phone-1t, ...; else asked.")
@click.option("--effort", metavar="NAME", help="How much to train: quick, balanced or thorough; else asked.")
@click.option("--mirrored/--not-mirrored", default=None, help="Whether mirrored images are as good; else asked.")
@click.option("--pretrained/--from-scratch", default=None, help="Whether to download ImageNet weights; else asked.")
@click.option("--guard", metavar="CLASS", help="A class of which few may be missed.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing, and take the defaults.")
@click.option("--force", is_flag=True, help="Replace the recipe if there is one.")
@click.option("--no-measure", is_flag=True, help="Do not take a few steps of training to say how long it will take.")
@CACHE_DIR
def init(
    data: str | None,
    out: Path | None,
    target: str | None,
    effort: str | None,
    mirrored: bool | None,
    pretrained: bool | None,
    guard: str | None,
    yes: bool,
    force: bool,
    no_measure: bool,
    cache_dir: Path | None,
) -> None:
    """Look at DATA and write a commented recipe for it: a class folder, an NPZ file, or a data set by name.

    Asks at most five questions; --yes takes the defaults. Says what the build will take on this machine.
    """
    from edgekd import api, recipe
    from edgekd.cache import default_root
    from edgekd.errors import ModelError, UserError
    from edgekd.init import choose, look, write

    _check_names(target, effort)
    if data is None:
        if yes:
            raise UserError("which data? edgekd init my_images/ --yes")
        data = _ask("Where are the images (a folder with one folder a class, or an .npz file)?", str)
    where: dict[str, Any] = dict(api.data_changes(data, "DATA"))
    base = recipe.load(api.OWN_DATA_RECIPE, where)
    seen = look(base.data)
    path = out or Path(f"{_file_name(seen.name)}.toml")
    if path.suffix != ".toml":
        raise UserError(f'--out "{path}": a recipe ends in .toml')
    if path.exists() and not force:
        raise UserError(f'"{path}" is there already; --force replaces it, --out names another')
    for line in _seen_lines(seen):
        click.echo(printable(line))
    answers = _answers(seen, target, effort, mirrored, pretrained, guard, yes)
    kept = {key: value for key, value in where.items() if value}
    text = write(choose(seen, answers, kept), _head(path, seen))
    _check(text, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f'"{path}" cannot be written ({error.strerror or error}); name another with --out') from None
    click.echo(f"wrote {path}")
    start_output(quiet=False)
    try:
        _tell_costs(path, cache_dir or default_root(), measure=not no_measure)
    except ModelError as error:
        other = "; or write it anew with --from-scratch --force" if answers.pretrained else ""
        raise ModelError(f"{path} is written, and cannot be built yet: {error}{other}") from error
    click.echo(f"next: edgekd build {path}")


def _answers(
    seen: Seen,
    target: str | None,
    effort: str | None,
    mirrored: bool | None,
    pretrained: bool | None,
    guard: str | None,
    yes: bool,
) -> Answers:
    """What was given, what is asked, and the defaults; four questions at most beside the data's."""
    from edgekd import target as targets
    from edgekd.errors import UserError, did_you_mean
    from edgekd.init import EFFORTS, Answers

    default = Answers()
    if target is None:
        target = default.target if yes else _ask("What is it for?", click.Choice(targets.names()), default.target)
    if effort is None:
        told = "; ".join(f"{name}: {what}" for name, what in EFFORTS.items())
        effort = (
            default.effort if yes else _ask(f"How much training ({told})?", click.Choice(list(EFFORTS)), "balanced")
        )
    if mirrored is None:
        question = "Could a mirrored image, left for right, be one of the same class?"
        mirrored = default.mirrored if yes else _ask(question, bool, default.mirrored)
    if pretrained is None:
        question = "May networks start from ImageNet weights (a download; best with few images)?"
        pretrained = default.pretrained if yes else _ask(question, bool, default.pretrained)
    if guard and guard not in seen.class_counts:
        raise UserError(f'--guard "{guard}": no such class{did_you_mean(guard, seen.class_counts)}')
    return Answers(target, effort, mirrored, pretrained, guard or "")


def _check_names(target: str | None, effort: str | None) -> None:
    from edgekd import target as targets
    from edgekd.errors import UserError, did_you_mean
    from edgekd.init import EFFORTS

    if target is not None:
        targets.load(target)
    if effort is not None and effort not in EFFORTS:
        raise UserError(f'unknown effort "{effort}"{did_you_mean(effort, EFFORTS)}')


def _ask(question: str, kind: Any, default: Any = None) -> Any:
    from edgekd.errors import UserError

    try:
        if kind is bool:
            return click.confirm(question, default=default, err=True)
        return click.prompt(question, type=kind, default=default, err=True)
    except click.Abort:
        raise UserError("nobody answered; --yes takes the defaults, edgekd init --help names every answer") from None


def _seen_lines(seen: Seen) -> list[str]:
    counts = ", ".join(f"{name} {count:,}" for name, count in list(seen.class_counts.items())[:12])
    more = f" and {len(seen.class_counts) - 12} more" if len(seen.class_counts) > 12 else ""
    return [
        f"{seen.name}: {seen.num_train:,} images to train on, {seen.num_val:,} to choose on (val), "
        f"{seen.num_test:,} for the test; {seen.median_side} pixels on the shorter side (median)",
        f"{seen.task}, {len(seen.class_counts)} classes, in train: {counts}{more}",
        *(f"note: {text}" for text in seen.warnings),
    ]


def _file_name(name: str) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    return plain.strip("_") or "recipe"


def _head(path: Path, seen: Seen) -> list[str]:
    return [
        f"Recipe for {printable(seen.name)}: {seen.num_train:,} training images of {len(seen.class_counts)} classes.",
        f"edgekd build {path.name} makes it; edgekd build {path.name} --dry-run says what that takes.",
        "Every key may be changed, and every key but the data left out. Paths are those seen from the folder in which "
        "edgekd is started.",
    ]


def _check(text: str, path: Path) -> None:
    """Raise RecipeError, before anything is written, where what would be written is no recipe."""
    import tomllib

    from edgekd import recipe

    recipe.from_table({"name": path.stem, **tomllib.loads(text)})


def _tell_costs(path: Path, cache_root: Path, *, measure: bool) -> None:
    from edgekd import recipe
    from edgekd.cache import Cache
    from edgekd.cli.plan import summary_lines
    from edgekd.estimate import estimate
    from edgekd.pipeline import plan

    found = estimate(plan(recipe.load(str(path)), cache=Cache(cache_root)), cache_root, take_steps=measure)
    for line in summary_lines(found):
        click.echo(line)
