"""Formulas as MathML, which browsers draw themselves: no script, no font and no network.

Formulas are written in the part of LaTeX's notation that is spelled out below, in ```` ```math ```` blocks and in
``$`...`$``, which code forges draw as well. What is not known raises, so that a strict build finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from typing import Any

LETTERS = {
    **{
        "alpha": "α",
        "beta": "β",
        "gamma": "γ",
        "lambda": "λ",
        "mu": "μ",
        "sigma": "σ",
        "theta": "θ",
        "tau": "τ",
        "kappa": "κ",
        "epsilon": "ε",
        "eta": "η",
        "phi": "φ",
    },
    **{"delta": "δ", "ell": "ℓ", "Delta": "Δ"},
}
OPERATORS = {
    **{"sum": "∑", "prod": "∏", "cdot": "⋅", "times": "×", "le": "≤", "ge": "≥", "ne": "≠", "approx": "≈", "pm": "±"},
    **{"in": "∈", "infty": "∞", "partial": "∂", "ldots": "…", "to": "→", "Vert": "‖", "vert": "|", "mid": "|"},
    **{"langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rceil": "⌉", "quad": "\u2003", "odot": "⊙"},
    **{"{": "{", "}": "}", ",": "\u2009"},
}
FUNCTIONS = ("log", "exp", "min", "max", "softmax", "std", "mean", "round", "clip", "KL", "CE", "Var", "tanh")
ACCENTS = {"hat": "^", "bar": "¯"}
# Operators whose limits stand above and below in a displayed formula.
LARGE = ("sum", "prod")

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[^\s]")
_INLINE = re.compile(r"\$<code>(.*?)</code>\$", re.S)


class FormulaError(ValueError):
    """A formula that is not written in the notation that is known here."""


def to_mathml(formula: str, *, display: bool = False) -> str:
    """A formula as a ``<math>`` element; ``display`` gives it a line of its own.

    Raises:
        FormulaError: an unknown command, or braces that do not match.
    """
    tokens = _TOKEN.findall(formula)
    body = _Parser(iter([*tokens, ""]), formula).row(end="")
    spoken = escape(" ".join(formula.split()), quote=True)
    block = ' display="block"' if display else ""
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML"{block} alttext="{spoken}">{body}</math>'


class _Parser:
    """Reads tokens one by one; one look ahead is enough."""

    def __init__(self, tokens: Iterator[str], formula: str):
        self.tokens, self.formula = tokens, formula
        self.token = next(tokens)
        self.close = True  # behind an operator, where a function's name needs no space

    def take(self) -> str:
        token, self.token = self.token, next(self.tokens, "")
        return token

    def fail(self, what: str) -> FormulaError:
        return FormulaError(f"{what} in the formula {self.formula!r}")

    def row(self, end: str) -> str:
        """Everything up to ``end``, as one element."""
        parts = []
        while self.token != end:
            if self.token in ("", "}"):
                raise self.fail("a brace without its partner")
            before = parts[-1] if parts else "</mo>"
            self.close = before.endswith("</mo>") and before != "<mo>)</mo>"
            parts.append(self.scripted())
        self.take()
        return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"

    def scripted(self) -> str:
        """An atom with what stands below and above it."""
        name = self.token.removeprefix("\\")
        base, scripts = self.atom(), {}
        while self.token in ("_", "^"):
            mark = self.take()
            if mark in scripts:
                raise self.fail(f"two of {mark} at one place")
            scripts[mark] = self.atom()
        if not scripts:
            return base
        below, above = ("munder", "mover") if name in LARGE else ("msub", "msup")
        kind = {("_",): below, ("^",): above}.get(tuple(scripts), f"{below}{above.removeprefix('m')}")
        return f"<{kind}>{base}{''.join(scripts[mark] for mark in '_^' if mark in scripts)}</{kind}>"

    def atom(self) -> str:
        token = self.take()
        if token == "{":
            return self.row(end="}")
        if token.startswith("\\"):
            return self.command(token[1:])
        if token[:1].isdigit():
            return f"<mn>{token}</mn>"
        if token[:1].isalpha():
            return f"<mi>{token}</mi>"
        if token in ("", "}", "_", "^"):
            raise self.fail(f"nothing before {token!r}")
        return f"<mo>{escape('−' if token == '-' else token)}</mo>"

    def command(self, name: str) -> str:
        if name == "frac":
            return f"<mfrac>{self.atom()}{self.atom()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.atom()}</msqrt>"
        if name == "text":
            return f"<mtext>{escape(self.words())}</mtext>"
        if name in ACCENTS:
            return f'<mover accent="true">{self.atom()}<mo>{ACCENTS[name]}</mo></mover>'
        if name in LETTERS:
            return f"<mi>{LETTERS[name]}</mi>"
        if name in FUNCTIONS:
            before, after = ("0" if tight else ".17em" for tight in (self.close, self.token == "("))
            return f'<mo lspace="{before}" rspace="{after}">{name}</mo>'
        if name in OPERATORS:
            return f"<mo>{OPERATORS[name]}</mo>"
        raise self.fail(f"the unknown command \\{name}")

    def words(self) -> str:
        """What stands in the braces behind ``\\text``; ``~`` is a space."""
        if self.take() != "{":
            raise self.fail("\\text without a brace")
        letters = []
        while self.token != "}":
            if not self.token:
                raise self.fail("a brace without its partner")
            letters.append(self.take())
        self.take()
        return "".join(letters).replace("~", " ")


def _block(source: str, language: str, class_name: str, options: dict[str, Any], md: Any, **rest: Any) -> str:
    """A ```` ```math ```` block; one line of it is one formula."""
    from pymdownx.superfences import SuperFencesException

    lines = [line for line in source.splitlines() if line.strip()]
    try:
        formulas = "".join(to_mathml(line, display=True) for line in lines)
    except FormulaError as error:
        raise SuperFencesException(str(error)) from error  # any other would be swallowed
    return f'<div class="formula">{formulas}</div>'


def on_config(config: Any) -> Any:
    """Have mkdocs hand ```` ```math ```` blocks to this module."""
    fence = {"name": "math", "class": "math", "format": _block}
    config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", []).append(fence)
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Draw what stands between ``$` `` and `` `$`` in a paragraph or a table."""
    return _INLINE.sub(lambda found: to_mathml(unescape(found[1])), html)
