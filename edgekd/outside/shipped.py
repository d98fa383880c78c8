"""What goes to a device beside model and input: :mod:`edgekd.measure` and the modules of ours that it imports."""

from __future__ import annotations

import ast
from importlib import resources


def modules_of(start: str) -> dict[str, bytes]:
    """Source files by their path below the package's parent, of a module and of all of ours that it imports.

    Functions count, typing does not. The package itself is sent empty: it names what a device does not have.

    Args:
        start: name below ``edgekd``, such as ``measure``.
    """
    root = resources.files("edgekd")
    found = {"edgekd/__init__.py": b""}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = f"edgekd/{name}.py"
        if path in found:
            continue
        found[path] = (root / f"{name}.py").read_bytes()
        waiting += _imports(ast.parse(found[path]))
    return found


def _imports(tree: ast.AST) -> list[str]:
    names = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "edgekd":
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgekd."):
            names.append(str(node.module).removeprefix("edgekd."))
        elif isinstance(node, ast.Import):
            names += [alias.name.removeprefix("edgekd.") for alias in node.names if alias.name.startswith("edgekd.")]
        waiting += ast.iter_child_nodes(node)
    return names
