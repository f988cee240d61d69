"""The tables of a report, as values."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from datetime import datetime

from funcnet.examination import Answers
from funcnet.record import RunRecord
from funcnet.report.labels import names_of
from funcnet.report.statistics import class_scores, class_sizes, wilson_interval
from funcnet.step import Evaluation, PenaltyValue
from funcnet.table import Table
from funcnet.text import duration

__all__ = [
    "class_names",
    "class_table",
    "confusions_table",
    "counted",
    "data_table",
    "date",
    "durations",
    "environment_table",
    "from_to",
    "history_table",
    "loss_label",
    "model_table",
    "number",
    "numbers",
    "runs_table",
    "settings_table",
    "summary_table",
    "units_table",
]

_CONFUSIONS = 12
_LISTED, _WORST = 100, 20  # classes that a page lists; of more, how many


def summary_table(run: RunRecord) -> Table:
    """How the run ended: loss and accuracy in each part of the data, with the parts of the loss beside.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to summarise")
    names, ends = zip(*((name.capitalize(), side[-1]) for name, side in run.parts), strict=True)
    columns = {
        "Final Loss": numbers([e.loss for e in ends]),
        loss_label(run).capitalize(): numbers([e.data_loss for e in ends]),
        "Penalty": numbers([e.penalty for e in ends]),
        "Accuracy": tuple(_share(e.accuracy) for e in ends),
        # An interval for examples that something was chosen by would say nothing about new ones.
        "95% interval": (*("" for _ in names[1:]), interval(run, run.test[-1]) or "-"),
    }
    return Table(run.dataset, ("", *columns), tuple(zip(names, *columns.values(), strict=True)))


def loss_label(run: RunRecord) -> str:
    """What reports call the run's data loss: ``cross-entropy``, ``mean squared error``."""
    name = run.loss_name.removeprefix("softmax ") or "data loss"
    return (
        f"data {name}" if name in ("loss", "penalty", "accuracy") else name
    )  # reports use these names for other things


def settings_table(run: RunRecord) -> Table:
    """The recipe: what the run was made with, when, and how long it took."""
    planned = f" of {run.planned_epochs:,}" if (run.planned_epochs or 0) > run.epochs else ""
    rows = [("epochs", f"{run.epochs:,}{planned}"), ("seed", str(run.seed)), *run.settings]
    if run.schedule_steps is not None:
        rows.append(("learning-rate schedule", f"ends after {counted(run.schedule_steps, 'step')}"))
    if run.started:
        rows.append(("started", date(run)))
    if run.epochs:
        if run.history[-1].steps:
            rows.append(("steps", f"{run.history[-1].steps:,}"))
        rows.append(("duration", durations(run)))
        speed = statistics.median(epoch.examples_per_second for epoch in run.history)
        rows.append(("training speed", f"{speed:,.0f} examples per second (median over the epochs)"))
    if run.command:
        rows.append(("command", run.command))
    return Table("Settings", ("", ""), tuple(rows), text=2)


def date(run: RunRecord) -> str:
    """When the run began, to the minute and with its time zone; as it is recorded if that is no date."""
    try:
        began = datetime.fromisoformat(run.started)
    except ValueError:
        return run.started
    return began.strftime("%Y-%m-%d, %H:%M") + (f" ({began.tzname()})" if began.tzinfo else "")


def durations(run: RunRecord) -> str:
    """How long the epochs of a run took: in all if that is known, and their training steps."""
    steps = duration(math.fsum(epoch.seconds for epoch in run.history))
    whole = math.fsum(epoch.total_seconds for epoch in run.history)
    return f"{steps} of training steps" if math.isnan(whole) else f"{duration(whole)}, of which {steps} training steps"


def counted(count: int, one: str, more: str = "") -> str:
    """A number of things: ``1 epoch``, ``20 epochs``; ``more`` is the plural, if an s does not make it."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def environment_table(run: RunRecord) -> Table:
    """What the run was made on."""
    return Table("Environment", ("", ""), run.environment, text=2)


def data_table(run: RunRecord) -> Table:
    """What the run was trained and tested on.

    Raises:
        ValueError: for a run that does not say.
    """
    if run.data is None:
        raise ValueError(f"the run on {run.dataset} says nothing about its data (new_run begins one that does)")
    data = run.data
    rows = [
        ("content", data.description),
        ("origin", data.origin),
        ("training examples", f"{data.train_examples:,}"),
        ("validation examples", f"{data.validation_examples:,}" if data.validation_examples else ""),
        ("testing examples", f"{data.test_examples:,}"),
        ("in both sets", "" if data.common_examples is None else counted(data.common_examples, "testing example")),
        ("one example", f"{data.dtype} of shape {_shape(data.in_shape)}"),
        ("classes", f"{len(data.classes):,}"),
        ("SHA-256 of the training set", data.train_sha256),
        ("SHA-256 of the validation set", data.validation_sha256),
        ("SHA-256 of the testing set", data.test_sha256),
    ]
    return Table("Data", ("", ""), tuple(row for row in rows if row[1]), text=2)


def model_table(run: RunRecord) -> Table:
    """The network, layer by layer, with what each costs for one example.

    Combinators have rows of their own, above the layers inside. These begin with a line for each combinator around
    them. The network itself has no row if it is a chain. Runs that do not know their combinators have full paths.
    """
    costs = ["parameters", "fixed", "multiply_adds", "residual_bytes"]
    columns = ["Layer", "Output shape", "Parameters", "Not trained", "Multiply-adds", "Bytes for the backward pass"]
    if not any(layer.fixed for layer in run.layers):
        del costs[1], columns[3]
    combinators = [one for layer in run.layers for one in layer.opens]
    outermost = next((one for one in combinators if not one.path and one.kind != "sequence"), None)
    rows: list[tuple[str, ...]] = []

    def label(path: str, name: str) -> str:
        places = re.findall(r"\[\d+\]|\.params", path)
        lines = "│" * (len(places) - (outermost is None))
        return " ".join([*lines, *places[-1:], name] if combinators else filter(None, [path, name]))

    for layer in run.layers:
        for one in layer.opens:
            if one.path or one is outermost:
                how = f" ({one.kind})" if one.kind in ("sum", "concatenation") else ""
                rows.append((label(one.path, f"{one.name}{how}"), _shape(one.out_shape), *("" for _ in costs)))
        numbers = (f"{getattr(layer, cost):,}" for cost in costs)
        rows.append((label(layer.path, layer.name), _shape(layer.out_shape), *numbers))
    rows.append(("total", "", *(f"{sum(getattr(layer, cost) for layer in run.layers):,}" for cost in costs)))
    return Table("Network, for one example", tuple(columns), tuple(rows))


def units_table(run: RunRecord) -> Table:
    """The layers that rectify, such as ReLU: how many of their units were 0 for every testing example.

    Raises:
        ValueError: for a run that was not examined.
    """
    if run.examination is None:
        raise ValueError(f"the run on {run.dataset} was not examined")
    layers = run.examination.activity
    columns, rows = ["Layer", "Units", "Always 0"], [[f"{a.path} {a.name}", a.units, a.never_active] for a in layers]
    if any(a.not_finite for a in layers):
        columns.append("Not finite")
        rows = [[*row, a.not_finite] for row, a in zip(rows, layers, strict=True)]
    cells = tuple((str(name), *(f"{count:,}" for count in counts)) for name, *counts in rows)
    return Table("Units of rectifying layers, in testing", tuple(columns), cells)


def class_table(run: RunRecord, *, whole: bool = True) -> Table:
    """How each class was recognised in testing; ``whole=False`` lists the worst of more than 100 classes.

    Raises:
        ValueError: for a run that has no answers.
    """
    answers, names = _answers(run), class_names(run)
    scores, unanswered = class_scores(answers), answers.unanswered
    order, title = list(range(len(names))), "Classes, in testing"
    if not whole and len(order) > _LISTED:
        met = [k for k in order if not math.isnan(scores[k].f1)]
        order = sorted(met, key=lambda k: scores[k].f1)[:_WORST]
        title = f"The {len(order)} classes of lowest F1 among {len(names):,}, in testing"
    rows = tuple(
        (
            names[k],
            *map(_share, (scores[k].f1, scores[k].recall, scores[k].precision)),
            *(f"{count:,}" for count in (scores[k].examples, scores[k].predicted)),
            *((f"{unanswered[k]:,}",) if unanswered else ()),
        )
        for k in order
    )
    columns = ("Class", "F1", "Recall", "Precision", "Examples", "Predicted", *(("No answer",) if unanswered else ()))
    return Table(title, columns, rows)


def confusions_table(run: RunRecord) -> Table:
    """The classes most often predicted in place of others.

    Raises:
        ValueError: for a run that has no answers.
    """
    names, answers = class_names(run), _answers(run)
    sizes = class_sizes(answers)
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(answers.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    rows = tuple(
        (names[true], names[predicted], f"{count:,}", f"{count / sizes[true]:.1%}")
        for count, true, predicted in pairs[:_CONFUSIONS]
    )
    return Table(
        "Most frequent mistakes", ("True class", "Predicted", "Times", "Share of the true class"), rows, text=2
    )


def class_names(run: RunRecord) -> tuple[str, ...]:
    """A name for each class that the answers know, no two alike: the data set's, or its number.

    Raises:
        ValueError: for a run that has no answers.
    """
    return names_of(run, len(_answers(run).confusion))


def history_table(run: RunRecord) -> Table:
    """Every epoch of the run, in full precision.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to list")
    sides = [(side, evaluations[0].penalties) for side, evaluations in run.parts]
    columns = ["epoch"]
    for side, penalties in sides:
        columns += [f"{side} {part}" for part in ("loss", loss_label(run), *map(_penalty_name, penalties), "accuracy")]
    columns += ["learning rate", "examples a second"]
    rows = []
    for epoch in run.history:
        row: list[float] = []
        for _, e in epoch.parts:
            row += [e.loss, e.data_loss, *(p.value for p in e.penalties), e.accuracy]
        rows.append((str(epoch.epoch), *map(repr, [*row, epoch.learning_rate, epoch.examples_per_second])))
    return Table(f"{run.dataset}, seed {run.seed}", tuple(columns), tuple(rows))


def _penalty_name(penalty: PenaltyValue) -> str:
    return f"{penalty.name} of {penalty.path}"


def runs_table(runs: tuple[RunRecord, ...]) -> Table:
    """How several runs ended, a line each.

    Raises:
        ValueError: for a run without epochs.
    """
    for place, run in enumerate(runs, 1):
        if not run.epochs:
            raise ValueError(f"run {place}, on {run.dataset}, has no epochs to summarise")
    train, test = [run.train[-1] for run in runs], [run.test[-1] for run in runs]
    held = [run.validation[-1] if run.validation else None for run in runs]
    validation = {
        "Validation accuracy": tuple(_share(e.accuracy) if e else "-" for e in held),
        "Validation loss": numbers([e.loss if e else math.nan for e in held]),
    }
    columns = {
        "Run": tuple(f"{place}: {run.dataset}, seed {run.seed}" for place, run in enumerate(runs, 1)),
        "Testing accuracy": tuple(_share(e.accuracy) for e in test),
        "95% interval": tuple(interval(run, run.test[-1]) or "-" for run in runs),
        "Testing loss": numbers([e.loss for e in test]),
        "Training accuracy": tuple(_share(e.accuracy) for e in train),
        "Training loss": numbers([e.loss for e in train]),
        **(validation if any(held) else {}),
        "Epochs": tuple(f"{run.epochs:,}" for run in runs),
    }
    return Table("Runs", tuple(columns), tuple(zip(*columns.values(), strict=True)))


def number(value: float) -> str:
    """A number as tables show it: three decimals, or three digits where so many decimals would say too little."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.3g}"


def numbers(values: Sequence[float]) -> tuple[str, ...]:
    """The numbers of a column, all with the same decimals: three, or more where one needs them for two digits."""
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    least, most = min(sizes, default=1.0), max(sizes, default=1.0)
    shape = ".2e" if most >= 1e6 or least < 1e-5 else f".{max(3, 1 - math.floor(math.log10(least)))}f"
    return tuple("-" if math.isnan(value) else format(value, shape) for value in values)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def interval(run: RunRecord, evaluation: Evaluation) -> str | None:
    """The 95% interval of the testing accuracy.

    None where an example has no answer, several, which are not independent, or a weight.
    """
    if math.isnan(evaluation.accuracy) or (run.examination is not None and run.examination.answers is None):
        return None
    if "testing" in run.weighted:
        return None
    low, high = wilson_interval(evaluation.accuracy, evaluation.examples)
    return f"{low:.3f} to {high:.3f}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _answers(run: RunRecord) -> Answers:
    if run.examination is None or run.examination.answers is None:
        raise ValueError(f"the run on {run.dataset} has no answers to classes")
    return run.examination.answers


def from_to(a: float, b: float) -> str:
    """Two numbers as tables show them, or with as many digits as it takes to tell them apart."""
    shown = [number(a), number(b)]
    for digits in range(4, 18):
        if a == b or shown[0] != shown[1]:
            break
        shown = [f"{value:.{digits}g}" for value in (a, b)]
    return f"from {shown[0]} to {shown[1]}"
