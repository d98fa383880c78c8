"""What the package's own metadata says it needs: the packages and their versions, and the extras.

Reads the few forms that pyproject.toml has (``name>=1.2``, ``name~=1.2.3``, ``; extra == "x"``), so that no further
package is needed to read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

_FORM = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<bounds>[^;]*)(?:;(?P<marker>.*))?")
_BOUND = re.compile(r"(>=|~=|==|<=|<|>)\s*([0-9][0-9.]*)")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Requirement:
    """A package that is needed.

    Attributes:
        name: of the package.
        bounds: as written (``"~=2.21.0"``).
        extra: that wants it; empty where edgekd itself does.
    """

    name: str
    bounds: str
    extra: str

    def admits(self, found: str) -> bool:
        """Whether a version is within the bounds; only the numbers before any suffix count."""
        return all(_holds(found, sign, wanted) for sign, wanted in _BOUND.findall(self.bounds))


def requirements(package: str = "edgekd") -> list[Requirement]:
    """Everything that an installed package needs, extras included; empty where the package is not installed."""
    try:
        lines = requires(package) or []
    except PackageNotFoundError:
        return []
    return [parse(line) for line in lines]


def parse(line: str) -> Requirement:
    """Read one line of ``Requires-Dist``. Raises ValueError for what is no requirement."""
    found = _FORM.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"not a requirement: {line!r}")
    extra = _EXTRA.search(found["marker"] or "")
    return Requirement(found["name"], found["bounds"].strip(" ()"), extra[1] if extra else "")


def installed(name: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> list[int]:
    """``"2.21.0rc1"`` gives ``[2, 21, 0]``."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", text)
    return [int(part) for part in found[0].split(".")] if found else [0]


def _holds(found: str, sign: str, wanted: str) -> bool:
    have, want = _numbers(found), _numbers(wanted)
    width = max(len(have), len(want))
    left, right = have + [0] * (width - len(have)), want + [0] * (width - len(want))
    if sign == "~=":  # at least this, and equal in all numbers but the last
        return left >= right and left[: len(want) - 1] == right[: len(want) - 1]
    return {">=": left >= right, "==": left == right, "<=": left <= right, "<": left < right, ">": left > right}[sign]
