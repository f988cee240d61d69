"""The tables of a report, as values."""

from __future__ import annotations

import math
import statistics

from funcnet.examination import Answers
from funcnet.record import RunRecord
from funcnet.report.statistics import class_examples, class_scores, wilson_interval
from funcnet.step import Evaluation, PenaltyValue
from funcnet.table import Table

__all__ = [
    "class_names",
    "class_table",
    "confusions_table",
    "data_table",
    "environment_table",
    "history_table",
    "loss_label",
    "model_table",
    "number",
    "runs_table",
    "settings_table",
    "summary_table",
]

_CONFUSIONS = 12


def summary_table(run: RunRecord) -> Table:
    """How the run ended: loss and accuracy in training and testing, with the parts of the loss beside.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to summarise")
    rows = tuple(
        (
            name,
            number(end.loss),
            number(end.accuracy),
            interval(run, end) or "-",
            number(end.data_loss),
            number(end.penalty),
        )
        for name, end in (("Training", run.train[-1]), ("Testing", run.test[-1]))
    )
    columns = ("", "Final Loss", "Accuracy", "95% interval", loss_label(run).capitalize(), "Penalty")
    return Table(run.dataset, columns, rows)


def loss_label(run: RunRecord) -> str:
    """What reports call the run's data loss: ``cross-entropy``, ``mean squared error``."""
    name = run.loss_name.removeprefix("softmax ") or "data loss"
    return f"data {name}" if name in ("loss", "penalty", "accuracy") else name  # which reports have already


def settings_table(run: RunRecord) -> Table:
    """The recipe: what the run was made with."""
    planned = f" of {run.planned_epochs}" if (run.planned_epochs or 0) > run.epochs else ""
    rows = [("epochs", f"{run.epochs}{planned}"), ("seed", str(run.seed)), *run.settings]
    if run.epochs:
        speed = statistics.median(epoch.examples_per_second for epoch in run.history)
        rows.append(("training examples a second", f"{speed:,.0f} (median over the epochs)"))
    if run.command:
        rows.append(("made again by", run.command))
    return Table("Settings", ("", ""), tuple(rows), text=2)


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
    rows = (
        ("training examples", f"{data.train_examples:,}"),
        ("testing examples", f"{data.test_examples:,}"),
        ("an example", f"{data.dtype} of shape {_shape(data.in_shape)}"),
        ("classes", f"{len(data.classes)}"),
        ("SHA-256 of the training set", data.train_sha256),
        ("SHA-256 of the testing set", data.test_sha256),
    )
    return Table("Data", ("", ""), rows, text=2)


def model_table(run: RunRecord) -> Table:
    """The network, layer by layer, with what each costs for one example."""
    rows: list[tuple[str, ...]] = [
        (
            f"{layer.path} {layer.name}".strip(),
            _shape(layer.out_shape),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            f"{layer.residual_bytes:,}",
        )
        for layer in run.layers
    ]
    totals = (
        sum(getattr(layer, cost) for layer in run.layers) for cost in ("parameters", "multiply_adds", "residual_bytes")
    )
    rows.append(("all", "", *(f"{total:,}" for total in totals)))
    columns = ("Layer", "Output shape", "Parameters", "Multiply-adds", "Residual bytes")
    return Table("Network, for one example", columns, tuple(rows))


def class_table(run: RunRecord) -> Table:
    """How each class was recognised in testing. Examples without an answer have a column, if there are any.

    Raises:
        ValueError: for a run that has no answers.
    """
    answers = _answers(run)
    rows: tuple[tuple[str, ...], ...] = tuple(
        (name, f"{s.examples:,}", f"{s.predicted:,}", *map(number, (s.precision, s.recall, s.f1)))
        for name, s in zip(class_names(run), class_scores(answers), strict=True)
    )
    columns: tuple[str, ...] = ("Class", "Examples", "Predicted", "Precision", "Recall", "F1")
    if answers.unanswered:
        columns = (*columns, "Without an answer")
        rows = tuple((*row, f"{count:,}") for row, count in zip(rows, answers.unanswered, strict=True))
    return Table("Classes, in testing", columns, rows)


def confusions_table(run: RunRecord) -> Table:
    """The classes most often taken for one another.

    Raises:
        ValueError: for a run that has no answers.
    """
    names, confusion, examples = class_names(run), _answers(run).confusion, class_examples(_answers(run))
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    rows = tuple(
        (f"{names[true]} for {names[predicted]}", f"{count:,}", f"{count / examples[true]:.1%}")
        for count, true, predicted in pairs[:_CONFUSIONS]
    )
    return Table("Most frequent mistakes", ("Took", "Times", "Of the class"), rows)


def class_names(run: RunRecord) -> tuple[str, ...]:
    """A name for each class that the answers know: the data set's, or its number.

    Raises:
        ValueError: for a run that has no answers.
    """
    names, classes = run.data.classes if run.data else (), len(_answers(run).confusion)
    return names if len(names) == classes else tuple(map(str, range(classes)))


def history_table(run: RunRecord) -> Table:
    """Every epoch of the run, in full precision.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to list")
    sides = [(side, evaluations[0].penalties) for side, evaluations in (("training", run.train), ("testing", run.test))]
    columns = ["epoch"]
    for side, penalties in sides:
        columns += [f"{side} {part}" for part in ("loss", loss_label(run), *map(_penalty_name, penalties), "accuracy")]
    columns += ["learning rate", "examples a second"]
    rows = []
    for epoch in run.history:
        row: list[float] = []
        for e in (epoch.train, epoch.test):
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
    rows: list[tuple[str, ...]] = []
    for place, run in enumerate(runs, 1):
        if not run.epochs:
            raise ValueError(f"run {place}, on {run.dataset}, has no epochs to summarise")
        train, test = run.train[-1], run.test[-1]
        rows.append(
            (
                f"{place}: {run.dataset}, seed {run.seed}",
                str(run.epochs),
                *map(number, (train.loss, train.accuracy, test.loss, test.accuracy)),
                interval(run, test) or "-",
            )
        )
    columns = ("Run", "Epochs", "Training loss", "Accuracy", "Testing loss", "Accuracy", "95% interval")
    return Table("Runs", columns, tuple(rows))


def number(value: float) -> str:
    """A number as tables show it: three decimals, or three digits where so many decimals would say too little."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.3g}"


def interval(run: RunRecord, evaluation: Evaluation) -> str | None:
    """The 95% interval of an accuracy; None where an example has no answer, or several, which are not independent."""
    if math.isnan(evaluation.accuracy) or (run.examination is not None and run.examination.answers is None):
        return None
    low, high = wilson_interval(evaluation.accuracy, evaluation.examples)
    return f"{low:.3f} to {high:.3f}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _answers(run: RunRecord) -> Answers:
    if run.examination is None or run.examination.answers is None:
        raise ValueError(f"the run on {run.dataset} has no answers to classes")
    return run.examination.answers
