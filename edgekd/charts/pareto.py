"""Size, or time, against accuracy: every model a point, and the front of those that none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.charts.draw import COLOURS, MARKERS, canvas, quiet, to_svg


@dataclass(frozen=True)
class Point:
    """A model.

    Attributes:
        model: its name.
        role: ``teacher``, ``float`` or ``shipped``; chooses colour and mark.
        cost: size or time; less is better.
        accuracy: on test; more is better.
        ci95: of the accuracy, or None.
    """

    model: str
    role: str
    cost: float
    accuracy: float
    ci95: Sequence[float] | None


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats, by rising cost.

    A point is beaten by one that costs no more and is no less accurate, and is better in one of the two.
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy)):
        last = found[-1] if found else None
        alike = last is not None and (point.cost, point.accuracy) == (last.cost, last.accuracy)
        if last is None or alike or point.accuracy > last.accuracy:
            found.append(point)
    return found


def pareto(points: Sequence[Point], name: str, title: str, unit: str, accuracy_title: str) -> str:
    """One panel.

    Args:
        points: at least one.
        name: of the picture, unlike that of any other.
        title: of the axis of costs.
        unit: of the costs.
        accuracy_title: what the task's accuracy is called.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    told = [f"{point.model} {_three(point.cost)} {unit}, {point.accuracy:.3f}" for point in points]
    best = front(points)
    low, high = min(point.cost for point in points), max(point.cost for point in points)
    with canvas(name, 300.0) as figure:
        axes = figure.subplots()
        steps = [point.cost for point in best], [point.accuracy for point in best]
        axes.step(*steps, where="post", color=COLOURS["soft"], linewidth=1.0, linestyle=(0, (4, 3)))
        labels = {"float": "other forms of the student"}
        for point in sorted(points, key=lambda point: ("float", "teacher", "shipped").index(point.role)):
            colour = COLOURS[point.role]
            if point.ci95 is not None and point.role != "float":
                axes.vlines(point.cost, point.ci95[0], point.ci95[1], color=colour, linewidth=1.2)
            axes.plot(
                point.cost,
                point.accuracy,
                color=colour,
                marker=MARKERS[point.role],
                linewidth=0.0,
                markersize=8.0 if point.role == "shipped" else 6.0,
                markerfacecolor="none" if point.role == "float" else colour,
                label=labels.pop("float", None) if point.role == "float" else point.model,
            )
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 60 * low else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="both", length=0)
        axes.set_xlabel(f"{title}, {unit}")
        axes.set_ylabel(f"{accuracy_title}, test")
        axes.margins(y=0.12)
        quiet(axes, "both")
        figure.legend(loc="outside upper left", ncols=1, handletextpad=0.2, borderaxespad=0.0)
        return to_svg(figure, name, f"{title.capitalize()} against {accuracy_title} on test: {'; '.join(told)}")


def _three(cost: float) -> str:
    """Three digits, and those before the point."""
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"
