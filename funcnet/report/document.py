"""A report's content, from runs: headings, findings, tables and figures in their order, whatever page they end on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import attrs
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report import sentences
from funcnet.report.classes import FEW, class_figure, confusion_figure, recall_figure, reliability_figure
from funcnet.report.comparison import comparison_figure, judging_part, settings_differences
from funcnet.report.curves import (
    accuracy_figure,
    has_accuracy,
    loss_figure,
    norms_figure,
    parts_figure,
    rate_figure,
    updates_figure,
)
from funcnet.report.findings import Finding, findings, verdict
from funcnet.report.labels import label_key
from funcnet.report.pictures import augmented_figure, filters_figure, mistakes_figure
from funcnet.report.tables import (
    class_names,
    class_table,
    confusions_table,
    counted,
    data_table,
    environment_table,
    model_table,
    runs_table,
    settings_table,
    summary_table,
    units_table,
)
from funcnet.run_file import file_names
from funcnet.table import Table
from funcnet.text import printable

__all__ = ["Block", "Document", "Heading", "Paragraph", "Plot", "document"]


@attrs.frozen
class Heading:
    """A heading, of a section (level 1) or a part of one (level 2), which may start a new page on paper."""

    text: str = attrs.field(converter=printable)
    level: int = 1
    new_page: bool = False


@attrs.frozen
class Paragraph:
    """Running text."""

    text: str = attrs.field(converter=printable)


@attrs.frozen
class Plot:
    """A figure.

    Attributes:
        name: the name of its file, without an ending.
        alt: what kind of figure it is, for readers who cannot see it.
        caption: what can be seen in it, and how to read it.
        draw: makes the figure; ``draw(width=COLUMN)`` makes it for a column or a telephone.
        wide: whether it needs the width of the page, also where two figures could stand side by side.
    """

    name: str
    alt: str = attrs.field(converter=printable)
    caption: str = attrs.field(converter=printable)
    draw: Callable[..., Figure] = attrs.field(repr=False)
    wide: bool = False


Block: TypeAlias = Heading | Paragraph | Finding | Table | Plot


@attrs.frozen
class Document:
    """A title, and what comes below it."""

    title: str = attrs.field(converter=printable)
    blocks: tuple[Block, ...]


def document(runs: Sequence[RunRecord], title: str) -> Document:
    """The report on ``runs``, each with at least one epoch.

    A data set's only run is shown in full; several on one data set are compared.

    Raises:
        ValueError: for no runs, or a run without epochs.
        TypeError: for a run that stands by itself.
    """
    if isinstance(runs, RunRecord):
        raise TypeError("a report is on a list of runs: [run]")
    if not runs or not all(run.epochs for run in runs):
        raise ValueError("a report needs at least one run, each with at least one epoch")
    blocks: list[Block] = [Paragraph(sentences.how_measured(runs))]
    if len(runs) > 1:
        blocks.append(runs_table(tuple(runs)))
    names = file_names(runs)
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(run.dataset, []).append(place)
    for dataset, places in groups.items():
        if len(places) == 1:
            section = _whole_run(runs[places[0]], names[places[0]])
        else:
            section = _comparison({place + 1: runs[place] for place in places}, [names[place] for place in places])
        heading = f"{dataset}: {len(places)} runs" if len(places) > 1 else dataset
        blocks += [Heading(heading, new_page=places[0] > 0), *section]
    return Document(title, tuple(blocks))


def _whole_run(run: RunRecord, name: str) -> Iterator[Block]:
    yield Paragraph(sentences.about_run(run))
    yield from _said(sentences.about_data(run))
    yield from _what_happened(run)
    yield Heading("Curves", 2)
    yield from _said(sentences.about_long_runs(run))
    yield from _curves(run, name)
    yield from _classes(run, name)
    if run.augmented:
        yield Heading("Augmented training images", 2)
        yield Paragraph(sentences.about_augmented(run))
        yield Plot(
            f"{name}-augmented",
            "Gallery of training images as they are and as they were augmented",
            f"{counted(len(run.augmented[0]), 'training image')}, and what augmentation made of them.",
            partial(augmented_figure, run.augmented),
            wide=True,
        )
    examination = run.examination
    if examination and examination.filters:
        yield Heading("Weights of the first layer", 2)
        yield Paragraph(sentences.about_weights(len(examination.filters)))
        yield Plot(
            f"{name}-weights",
            "Gallery of the first layer's weights as pictures",
            f"The {len(examination.filters)} units of the first layer with the largest weights.",
            partial(filters_figure, examination.filters),
            wide=True,
        )
    yield Heading("Setup", 2)
    yield settings_table(run)
    yield from _facts({1: run})


def _said(*texts: str) -> Iterator[Paragraph]:
    yield from map(Paragraph, filter(None, texts))


def _what_happened(run: RunRecord) -> Iterator[Block]:
    yield attrs.evolve(summary_table(run), title=f"Results after {counted(run.epochs, 'epoch')}")
    yield from _said(sentences.about_choice(run))
    yield Heading("Findings", 2)
    yield Paragraph(verdict(run))
    yield from findings(run)


def _curves(run: RunRecord, name: str) -> Iterator[Plot]:
    def plot(key: str, alt: str, caption: str, draw: Callable[..., Figure], *, wide: bool = False) -> Plot:
        return Plot(f"{name}-{key}", alt, caption, partial(draw, run), wide)

    yield plot("loss", "Line chart of the loss and its parts by epoch", sentences.about_loss(run), loss_figure)
    yield plot(
        "parts", "Area chart of the parts of the training loss by epoch", sentences.about_parts(run), parts_figure
    )
    if has_accuracy(run):
        yield plot("accuracy", "Line chart of the accuracy by epoch", sentences.about_accuracy(run), accuracy_figure)
    yield plot("rate", "Line chart of the learning rate by epoch", sentences.about_rate(run), rate_figure)
    norms, updates = sentences.about_norms(run), sentences.UPDATES
    yield plot("norms", "Line charts of the norms of gradients and parameters by epoch", norms, norms_figure, wide=True)
    yield plot("updates", "Line chart of the size of updates by epoch", updates, updates_figure, wide=True)


def _classes(run: RunRecord, name: str) -> Iterator[Block]:
    answers = run.examination.answers if run.examination else None
    if answers is None:
        return
    names = class_names(run)
    yield Heading("Results by class", 2)
    yield from _said(label_key(names), sentences.about_unanswered(answers))
    plots = list(_class_plots(run, name))
    yield from plots[:2]
    if (confusions := confusions_table(run)).rows:
        yield confusions
    yield from plots[2:]
    yield class_table(run, whole=False)
    yield Plot(
        f"{name}-reliability",
        "Reliability diagram: accuracy by confidence",
        sentences.about_reliability(answers),
        partial(reliability_figure, answers),
    )
    if any(mistake.picture for mistake in answers.mistakes):
        yield Paragraph(sentences.about_mistakes(answers))
        yield Plot(
            f"{name}-mistakes",
            "Gallery of wrongly classified pictures",
            "The mistakes made with the highest confidence.",
            partial(mistakes_figure, answers, names),
            wide=True,
        )


def _class_plots(run: RunRecord, name: str) -> Iterator[Plot]:
    """Which classes are confused, and how well each is recognised."""
    answers = run.examination.answers if run.examination else None
    if answers is None:
        return
    names = class_names(run)
    yield Plot(
        f"{name}-confusion",
        "Confusion matrix of true and predicted classes",
        sentences.about_confusion(answers, names),
        partial(confusion_figure, answers, names),
        wide=12 < len(names) <= FEW,
    )
    if len(names) > FEW:
        yield Plot(
            f"{name}-recall",
            "Histogram of recall over the classes",
            sentences.about_recall(answers),
            partial(recall_figure, answers),
        )
    yield Plot(
        f"{name}-classes",
        "Dot chart of precision, recall and F1 by class",
        sentences.about_classes(answers, names),
        partial(class_figure, answers, names),
        wide=len(names) > 12,
    )


def _facts(runs: dict[int, RunRecord]) -> Iterator[Table]:
    """Network, data and environment of the numbered runs, each told once for all runs that have it."""
    for make in (_network, _units, _data, _environment):
        told: dict[Table, list[int]] = {}
        for number, run in runs.items():
            if table := make(run):
                told.setdefault(table, []).append(number)
        for table, numbers in told.items():
            of = f" (run{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))})"
            yield attrs.evolve(table, title=f"{table.title}{of if len(runs) > 1 else ''}")


def _network(run: RunRecord) -> Table | None:
    return model_table(run) if run.layers else None


def _units(run: RunRecord) -> Table | None:
    return units_table(run) if run.examination and run.examination.activity else None


def _data(run: RunRecord) -> Table | None:
    return data_table(run) if run.data else None


def _environment(run: RunRecord) -> Table | None:
    return environment_table(run) if run.environment else None


def _comparison(runs: dict[int, RunRecord], names: list[str]) -> Iterator[Block]:
    alone = tuple(runs.values())
    if len({run.data for run in alone}) == 1:
        yield from _said(sentences.about_data(alone[0]))
    yield from _said(sentences.about_long_runs(max(alone, key=lambda run: run.epochs)))
    yield Plot(
        f"{names[0]}-comparison",
        f"Line charts of {judging_part(alone)} loss and accuracy of every recipe by epoch",
        sentences.about_comparison(alone),
        partial(comparison_figure, alone),
        wide=True,
    )
    yield settings_differences(alone)
    for (number, run), name in zip(runs.items(), names, strict=True):
        yield Heading(f"Run {number}: {run.dataset}, seed {run.seed}", 2)
        yield Paragraph(sentences.about_run(run))
        yield attrs.evolve(summary_table(run), title=f"Results of run {number} after {counted(run.epochs, 'epoch')}")
        yield from _said(sentences.about_choice(run))
        yield Paragraph(verdict(run))
        yield from findings(run)
        yield from _class_plots(run, name)
        yield attrs.evolve(settings_table(run), title=f"Settings of run {number}")
    yield Heading("Network, data and environment", 2)
    yield from _facts(runs)
