"""``edgekd target``: profiles of devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import printable, start_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgekd.target import Target

EXIT_DOES_NOT_FIT = 1


@click.group()
def target() -> None:
    """Profiles of devices: what a model may take there, and what its figures are.

    NAME is a built-in profile, or the path of a TOML file of your own with the same keys (edgekd target show).
    """


@target.command("list")
def list_targets() -> None:
    """Name the built-in profiles."""
    from edgekd import target as profiles

    for name in profiles.names():
        profile = profiles.load(name)
        click.echo(f"{name:18} {profile.figures:9} {profile.description}")


@target.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a profile with all its keys, as the TOML of one's own begins."""
    import tomli_w

    from edgekd import target as profiles
    from edgekd.options import to_table

    profile = profiles.load(name)
    table = to_table(profile)
    click.echo(f"# {table.pop('name')}")
    if (reason := profiles.why_not_timed(profile)) is not None:
        click.echo(f"# {reason}")
    click.echo(tomli_w.dumps(table), nl=False)


@target.command()
@click.argument("name")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.tflite")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def check(name: str, model: Path, as_json: bool) -> None:
    """Hold a model file against a profile: operators, number types, bytes, memory.

    All reasons why it does not fit are listed, and the exit code is 1 where there is one. Nothing is run. What a GPU or
    an NPU will take is a forecast from its published table, and no reason; for ethos-u55 Arm's Vela compiles the model
    beside it and confirms or corrects the forecast.
    """
    import json
    import tempfile

    from edgekd import target as profiles
    from edgekd import vela
    from edgekd.stages.fit import against

    profile = profiles.load(name)
    found = against(model.name, model, None, profile)
    if profile.npu.accelerator:
        with tempfile.TemporaryDirectory() as folder:
            found["npu"] = vela.compile_for(profile.npu, model, Path(folder) / "compiled.tflite")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found, profile):
            click.echo(printable(line))
    if found["reasons"]:
        raise click.exceptions.Exit(EXIT_DOES_NOT_FIT)


def _lines(found: Mapping[str, Any], profile: Target) -> Iterator[str]:
    for row in found["limits"]:
        reckoned = row["id"] in ("max_arena_bytes", "max_memory_bytes")
        note = " (tensors as the file has them; the runtime's own tables come on top)" if reckoned else ""
        verdict = "held" if row["held"] else "BROKEN"
        yield f"{verdict:6}  {row['id']}: {row['measured']:,} against {row['limit']:,}{note}"
    if profile.limits.max_p50_ms is not None:
        yield "not checked  max_p50_ms: nothing is run here; edgekd benchmark times the model"
    for row in found["forecasts"]:
        share = "" if row["macs_share"] is None else f", {row['macs_share']:.1%} of the multiply-accumulates"
        taken = f"{row['operators_taken']} of {row['num_operators']} operators{share}"
        yield f"forecast  {row['client']} takes {taken} (from {row['table']})"
    if npu := found.get("npu"):
        from edgekd import vela

        yield f"compiled  {vela.in_words(npu)}"
        yield f"estimate  {vela.estimates_in_words(npu)}"
    for reason in found["reasons"]:
        yield f"reason  {reason}"
    verdict = f"does not fit, {len(found['reasons'])} reasons" if found["reasons"] else "fits"
    yield f"{found['model']}: {verdict.replace('1 reasons', 'one reason')}: target {found['name']}"


@target.command()
@click.argument("name")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where it is laid. Default: the cache.")
def install(name: str, cache_dir: Path | None) -> None:
    """Lay what an emulated target needs into the cache, without root.

    arm64-emulated: an arm64 user land of pinned Debian packages (apt-get download) and the aarch64 wheels of LiteRT and
    numpy (pip download), each checked by its SHA-256. An install that was interrupted goes on where it stopped.
    """
    from edgekd import target as profiles
    from edgekd.arm64 import emulator
    from edgekd.arm64 import install as arm64
    from edgekd.cache import default_root
    from edgekd.errors import UserError

    profile = profiles.load(name)
    if profile.name != profiles.ARM64_EMULATED:
        raise UserError(f'target "{name}" needs no install; {profiles.ARM64_EMULATED} does')
    start_output(quiet=False)
    folder = arm64.install(cache_dir or default_root())
    click.echo(f"{profile.name}: {folder}")
    click.echo(f"emulator: {emulator.version(emulator.find())}")


@target.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL.tflite...")
@click.option("--cpu", default="cortex-a76", show_default=True, help="cortex-a53, cortex-a72 or cortex-a76.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where edgekd target install laid arm64-emulated.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def instructions(models: tuple[Path, ...], cpu: str, cache_dir: Path | None, as_json: bool) -> None:
    """Count the instructions of one inference on arm64-emulated: XNNPACK, one thread, a made-up picture.

    Counts repeat within a few in a thousand and are no latency: of two models the one with more instructions may be the
    faster one.
    """
    import json

    from edgekd.arm64 import compare
    from edgekd.arm64.install import installed
    from edgekd.arm64.instructions import instructions as count
    from edgekd.cache import default_root
    from edgekd.recheck import OnTarget

    where = OnTarget.named("arm64-emulated", 1, cpu, cache_dir or default_root())
    compare.require(where.cache)
    found = {str(path): count(path, installed(where.cache), where.cpu) for path in models}
    if as_json:
        click.echo(json.dumps({"cpu": where.cpu, "instructions": found}, indent=2))
        return
    for path, number in found.items():
        click.echo(f"{number:>15,}  {path}")
    click.echo(f"instructions of one inference on {where.cpu}, emulated; no latency")
