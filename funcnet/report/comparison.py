"""Several runs side by side: other seeds, other recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.curves import has_accuracy
from funcnet.report.epochs import LONG, draw_band, grouped, places, set_epochs
from funcnet.report.style import (
    DASHED,
    DOTTED,
    PAGE,
    PALETTE,
    SOLID,
    curve,
    finish,
    from_zero,
    is_narrow,
    legend,
    new_figure,
    plain,
    share_axis,
)
from funcnet.step import Evaluation, PenaltyValue
from funcnet.table import Table
from funcnet.training import EpochNumbers

__all__ = ["comparison_figure", "judging_part", "recipes", "settings_differences"]

_COLUMNS = 4  # of settings, for which a page has room side by side
_NAMED, _ABREAST = 5, 3  # recipes whose names a legend has room for; of more, how many numbers stand in a line
_UNKNOWN = "no recorded difference"


def recipes(runs: Sequence[RunRecord]) -> tuple[tuple[str, tuple[RunRecord, ...]], ...]:
    """The runs in groups that differ in nothing but the seed, each group with the settings that set it apart.

    Two runs of one seed are not in one group: the same again, or with a difference that their records do not have, they
    are no two draws of which a mean could be taken.
    """
    groups: list[list[RunRecord]] = []
    for run in runs:
        for group in groups:
            if _settings(run) == _settings(group[0]) and run.seed not in [other.seed for other in group]:
                group.append(run)
                break
        else:
            groups.append([run])
    first = [group[0] for group in groups]
    if len(first) == 1:
        return ((first[0].dataset, tuple(runs)),)
    return tuple(
        (
            f"{place}: {', '.join(f'{name} {value}' for name, value in _apart(group[0], first)) or _UNKNOWN}",
            tuple(group),
        )
        for place, group in enumerate(groups, 1)
    )


def _settings(run: RunRecord) -> dict[str, str]:
    """What a run was made with: what its maker says, and what its numbers say."""
    return {
        "data set": run.dataset,
        "training set": _set(run.data.train_examples, run.data.train_sha256) if run.data else "",
        "validation set": (
            _set(run.data.validation_examples, run.data.validation_sha256)
            if run.data and run.data.validation_examples
            else ""
        ),
        "testing set": _set(run.data.test_examples, run.data.test_sha256) if run.data else "",
        "epochs": "" if run.planned_epochs is None else str(run.planned_epochs),
        "layers": ", ".join(layer.name for layer in run.layers),
        "loss": run.loss_name,
        "penalised": ", ".join(_penalty(p, run.history[0]) for p in run.train[0].penalties) if run.epochs else "",
        "rate after the first epoch": f"{run.history[0].learning_rate:g}" if run.epochs else "",
        **dict(run.settings),  # last: its maker's words are not written over
    }


def _set(examples: int, checksum: str) -> str:
    return f"{examples:,} examples ({checksum[:8]})"


def _penalty(penalty: PenaltyValue, epoch: EpochNumbers) -> str:
    """Which it is; of an l2, which is coefficient / 2 times the squared norm, with the coefficient."""
    norm = dict(epoch.parameter_norms).get(penalty.path, 0.0)
    coefficient = f" {2 * penalty.value / norm**2:.3g}" if penalty.name == "l2" and norm > 0 else ""
    return f"{penalty.path} ({penalty.name}{coefficient})"


def _apart(run: RunRecord, others: Sequence[RunRecord]) -> list[tuple[str, str]]:
    settings = [_settings(other) for other in others]
    return [(name, value) for name, value in _settings(run).items() if any(s.get(name) != value for s in settings)]


def settings_differences(runs: Sequence[RunRecord]) -> Table:
    """What sets the recipes of the runs apart, and how many runs each has."""
    groups = recipes(runs)
    first = [group[0] for _, group in groups]
    names = dict.fromkeys(name for run in first for name, _ in _apart(run, first))
    columns = tuple(names) if len(names) <= _COLUMNS else ("Differences",)

    def cells(run: RunRecord) -> tuple[str, ...]:
        if len(names) <= _COLUMNS:
            return tuple(_settings(run).get(name) or "-" for name in names)
        return (", ".join(f"{name} {value or '-'}" for name, value in _apart(run, first)),)

    rows = tuple(
        (
            f"recipe {place}",
            ", ".join(str(run.seed) for run in group),
            *cells(group[0]),
        )
        for place, (_, group) in enumerate(groups, 1)
    )
    return Table("Recipes", ("", "Seeds", *columns), rows, text=len(columns) + 2)


def judging_part(runs: Sequence[RunRecord]) -> str:
    """The part by which recipes are compared, which is to choose among them: validation, if all runs have it."""
    return "validation" if all(run.validation for run in runs) else "testing"


def comparison_figure(runs: Sequence[RunRecord], width: float = PAGE) -> Figure:
    """Loss, data loss and accuracy of every recipe: the mean over its runs, and the band they lie in.

    They are of the validation part if all runs have one, and of the testing part if not.

    Many recipes go by their numbers in ``settings_differences``.
    """
    part = judging_part(runs)
    name = part.capitalize()
    shown: list[tuple[str, Callable[[Evaluation], float]]] = [
        (f"{name} Loss, Total", lambda e: e.loss),
        (f"{name} Loss, Without Penalties", lambda e: e.data_loss),
    ]
    if all(has_accuracy(run) for run in runs):
        shown.append((f"{name} Accuracy", lambda e: e.accuracy))
    groups = recipes(runs)
    count = len(groups)
    lines = count if count <= _NAMED else -(-count // _ABREAST)
    figure = new_figure(1.95 * len(shown) + 0.4 + 0.2 * lines, width)
    panels = list(figure.subplots(len(shown), 1, squeeze=False).flat)
    for axes, (title, value) in zip(panels, shown, strict=True):
        _draw(axes, groups, part, value)
        finish(axes, title, "Epochs", title.split()[1].strip(","))
        set_epochs(axes, max(run.epochs for run in runs))
        if "Accuracy" in title:
            share_axis(axes)
        else:
            from_zero(axes)
    legend(panels[0], columns=1 if count <= _NAMED else _ABREAST)
    return figure


def _draw(
    axes: Axes, groups: Sequence[tuple[str, tuple[RunRecord, ...]]], part: str, value: Callable[[Evaluation], float]
) -> None:
    for place, (label, group) in enumerate(groups):
        name = label if len(groups) <= _NAMED else f"recipe {place + 1}"
        colour, style = PALETTE[place % len(PALETTE)], (SOLID, DASHED, DOTTED)[place // len(PALETTE) % 3]
        curves = [[value(evaluation) for evaluation in dict(run.parts)[part]] for run in group]
        # As far as all of them got: a mean over fewer would move for no other reason.
        there = list(zip(*curves, strict=False))
        count = f" ({len(group)} runs)" if len(group) > 1 else ""
        axes.plot(
            places(len(there)), grouped([sum(v) / len(v) for v in there]), color=colour,
            label=f"{plain(name, 45 if is_narrow(axes) else 70)}{count}", clip_on=False, **curve(len(there), style),
        )  # fmt: skip
        if len(group) > 1 or len(there) > LONG:
            draw_band(axes, list(map(min, there)), list(map(max, there)), colour)
