"""Named functions: the built-in ones, and those that other packages bring as entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from edgekd.errors import UserError, did_you_mean

F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[F]):
    """A mapping from a name to a function.

    Args:
        kind: what the names stand for, in the singular; used in messages (``"student"``).
        group: entry-point group of other packages' functions (``"edgekd.students"``), or None.
        error: class raised for an unknown name.
    """

    def __init__(self, kind: str, group: str | None = None, error: type[UserError] = UserError):
        self.kind, self.group, self.error = kind, group, error
        self._functions: dict[str, F] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Return a decorator that files a function under ``name``; a second one raises."""

        def file(function: F) -> F:
            if name in self._functions:
                raise ValueError(f'{self.kind} "{name}" is registered twice')
            self._functions[name] = function
            return function

        return file

    def names(self) -> list[str]:
        """All names, built-in and from entry points, sorted."""
        return sorted({*self._functions, *(point.name for point in self._entry_points())})

    def __getitem__(self, name: str) -> F:
        if name in self._functions:
            return self._functions[name]
        for point in self._entry_points():
            if point.name == name:
                return self._load(point)
        raise self.error(f'unknown {self.kind} "{name}"{did_you_mean(name, self.names())}')

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load(self, point: EntryPoint) -> F:
        try:
            function: F = point.load()
        except Exception as error:  # another package's import may fail in any way
            package = point.dist.name if point.dist else "an unknown package"
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise self.error(
                f'{self.kind} "{point.name}" comes from {package} ({point.value}), which cannot be loaded: {reason}'
            ) from error
        return function

    def _entry_points(self) -> list[EntryPoint]:
        return list(entry_points(group=self.group)) if self.group else []
