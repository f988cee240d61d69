"""Several runs side by side: other seeds, other recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.curves import has_accuracy
from funcnet.report.style import DASHED, DOTTED, PALETTE, SOLID, curve, finish, legend, new_figure, plain
from funcnet.step import Evaluation
from funcnet.table import Table

__all__ = ["comparison_figure", "recipes", "settings_differences"]


def recipes(runs: Sequence[RunRecord]) -> tuple[tuple[str, tuple[RunRecord, ...]], ...]:
    """The runs in groups that differ in nothing but the seed, each group with the settings that set it apart."""
    groups: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(tuple(_settings(run).items()), []).append(run)
    first = [group[0] for group in groups.values()]
    if len(first) == 1:
        return ((first[0].dataset, tuple(runs)),)
    return tuple(
        (f"{place}: " + ", ".join(f"{name} {value}" for name, value in _apart(group[0], first)), tuple(group))
        for place, group in enumerate(groups.values(), 1)
    )


def _settings(run: RunRecord) -> dict[str, str]:
    """What a run was made with: what its maker says, and what its numbers say."""
    return {
        "data set": run.dataset,
        "epochs": "" if run.planned_epochs is None else str(run.planned_epochs),
        "layers": ", ".join(layer.name for layer in run.layers),
        "loss": run.loss_name,
        "penalised": ", ".join(f"{p.path} ({p.name})" for p in run.train[0].penalties) if run.epochs else "",
        "rate after the first epoch": f"{run.history[0].learning_rate:g}" if run.epochs else "",
        **dict(run.settings),  # last: its maker's words are not written over
    }


def _apart(run: RunRecord, others: Sequence[RunRecord]) -> list[tuple[str, str]]:
    settings = [_settings(other) for other in others]
    return [(name, value) for name, value in _settings(run).items() if any(s.get(name) != value for s in settings)]


def settings_differences(runs: Sequence[RunRecord]) -> Table:
    """What sets the recipes of the runs apart, and how many runs each has."""
    groups = recipes(runs)
    first = [group[0] for _, group in groups]
    names = dict.fromkeys(name for run in first for name, _ in _apart(run, first))
    rows = tuple(
        (
            f"recipe {place}",
            ", ".join(str(run.seed) for run in group),
            *(_settings(group[0]).get(name) or "-" for name in names),
        )
        for place, (_, group) in enumerate(groups, 1)
    )
    return Table("Recipes", ("", "Seeds", *names), rows, text=len(names) + 2)


def comparison_figure(runs: Sequence[RunRecord]) -> Figure:
    """Testing loss, data loss and accuracy of every recipe: the mean over its runs, and the band they lie in."""
    shown: list[tuple[str, Callable[[Evaluation], float]]] = [
        ("Testing Loss, Total", lambda e: e.loss),
        ("Testing Loss, Without Penalties", lambda e: e.data_loss),
    ]
    if all(has_accuracy(run) for run in runs):
        shown.append(("Testing Accuracy", lambda e: e.accuracy))
    figure = new_figure(height=2.7 * len(shown) + 0.4)
    places = list(figure.subplots(len(shown), 1, squeeze=False).flat)
    for axes, (title, value) in zip(places, shown, strict=True):
        _draw(axes, runs, value)
        finish(axes, title, "Epochs", title.split()[1].strip(","))
    legend(places[0], columns=1)
    return figure


def _draw(axes: Axes, runs: Sequence[RunRecord], value: Callable[[Evaluation], float]) -> None:
    for place, (label, group) in enumerate(recipes(runs)):
        colour, style = PALETTE[place % len(PALETTE)], (SOLID, DASHED, DOTTED)[place // len(PALETTE) % 3]
        curves = [[value(evaluation) for evaluation in run.test] for run in group]
        # As far as all of them got: a mean over fewer would move for no other reason.
        there = list(zip(*curves, strict=False))
        epochs = range(1, len(there) + 1)
        count = f" ({len(group)} runs)" if len(group) > 1 else ""
        axes.plot(
            epochs, [sum(v) / len(v) for v in there], color=colour, label=f"{plain(label, 70)}{count}",
            **curve(len(there), style),
        )  # fmt: skip
        if len(group) > 1:
            axes.fill_between(epochs, [min(v) for v in there], [max(v) for v in there], color=colour, alpha=0.2, lw=0)
