"""Learning curves: what each epoch of a training left on train and on val."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, canvas, quiet, to_svg

History = Sequence[Mapping[str, Any]]


def curves(history: History, title: str, name: str, accuracy: str, accuracy_title: str) -> str:
    """Losses above, accuracy and AUC on val below, an epoch each; trainings that follow each other stand in a row.

    Args:
        history: records with ``loss``, ``val_loss``, ``val_auc`` and the accuracy; with ``temperature`` and
            ``hard_loss_weight`` where these were learned along, which are drawn below.
        title: of the training.
        name: of the picture, unlike that of any other.
        accuracy, accuracy_title: what the task calls its accuracy.
    """
    epochs, mark = range(1, len(history) + 1), "o" if len(history) < 3 else ""
    dashed, dotted = (0, (4, 2)), (0, (4, 1, 1, 1))
    val, train, area = COLOURS["shipped"], COLOURS["soft"], COLOURS["teacher"]
    learned = [(epoch, row) for epoch, row in zip(epochs, history, strict=True) if "temperature" in row]
    with canvas(name, 440.0 if learned else 320.0) as figure:
        above, below, *lowest = figure.subplots(3 if learned else 2, 1, sharex=True)
        above.plot(epochs, [row["loss"] for row in history], color=train, linestyle=dashed, marker=mark)
        above.plot(epochs, [row["val_loss"] for row in history], color=val, marker=mark)
        above.set_title(title)
        above.set_ylabel("loss")
        above.legend(["train", "val"], loc="upper right", handlelength=1.8)
        below.plot(epochs, [row[f"val_{accuracy}"] for row in history], color=val, marker=mark)
        below.plot(epochs, [row["val_auc"] for row in history], color=area, linestyle=dotted, marker=mark)
        below.legend([accuracy_title, "AUC"], loc="lower right", handlelength=2.2)
        below.set_ylabel("val")
        for axes in lowest:
            _schedule(axes, learned, mark)
        [below, *lowest][-1].set_xlabel("epoch")
        below.set_xlim(0.8, max(2, len(history)) + 0.2)
        below.locator_params(axis="x", nbins=7, integer=True)
        quiet(above)
        quiet(below)
        last = history[-1]
        told = (
            f"{title}, {len(history)} epochs. At the end: loss {last['loss']:.3f} on train and {last['val_loss']:.3f} "
            f"on val, {accuracy_title} {last[f'val_{accuracy}']:.3f} and AUC {last['val_auc']:.3f} on val"
        )
        if learned:
            end = learned[-1][1]
            told += f"; learned temperature {end['temperature']:.2f}, labels count {end['hard_loss_weight']:.0%}"
        return to_svg(figure, name, told)


def _schedule(axes: Any, learned: Sequence[tuple[int, Mapping[str, Any]]], mark: str) -> None:
    """Temperature by the left scale, and the share of the labels by the right one."""
    epochs = [epoch for epoch, _ in learned]
    share = axes.twinx()
    lines = axes.plot(epochs, [row["temperature"] for _, row in learned], color=COLOURS["shipped"], marker=mark)
    counted = [row["hard_loss_weight"] for _, row in learned]
    lines += share.plot(epochs, counted, color=COLOURS["teacher"], linestyle=(0, (4, 1, 1, 1)), marker=mark)
    share.set_ylim(0, 1)
    axes.set_ylabel("temperature")
    share.set_ylabel("labels")
    axes.legend(lines, ["temperature", "share of the labels"], loc="upper right", handlelength=2.2)
    quiet(axes)
