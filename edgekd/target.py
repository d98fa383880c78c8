"""Device profiles: how a model is run when it is measured. Data, in ``targets/*.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

from edgekd.errors import RecipeError, did_you_mean


@dataclass(frozen=True)
class Target:
    """One profile.

    Attributes:
        name: of the profile.
        description: in a sentence.
        kernel: ``xnnpack``, ``builtin`` or ``reference``.
        num_threads: threads of the interpreter.
        pin_cpus: processors to pin to, by number; empty pins nothing.
        figures: what its figures are: ``measured``, ``emulated`` or ``checked``.
    """

    name: str
    description: str
    kernel: str
    num_threads: int
    pin_cpus: tuple[int, ...]
    figures: str


def names() -> list[str]:
    """The profiles that come with the package."""
    folder = resources.files("edgekd") / "targets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name: str) -> Target:
    """Read a profile. Raises RecipeError for an unknown name."""
    if name not in names():
        raise RecipeError(f'unknown target "{name}"{did_you_mean(name, names())}')
    text = (resources.files("edgekd") / "targets" / f"{name}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return Target(name=name, **{**table, "pin_cpus": tuple(table["pin_cpus"])})
