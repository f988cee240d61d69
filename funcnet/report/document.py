"""A report's content, from runs: headings, findings, tables and figures in their order, whatever page they end on."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import attrs
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.classes import class_figure, confusion_figure, reliability_figure
from funcnet.report.comparison import comparison_figure, settings_differences
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
from funcnet.report.pictures import filters_figure, mistakes_figure
from funcnet.report.tables import (
    class_names,
    class_table,
    confusions_table,
    data_table,
    environment_table,
    model_table,
    runs_table,
    settings_table,
    summary_table,
)
from funcnet.table import Table
from funcnet.text import printable

__all__ = ["Block", "Document", "Heading", "Paragraph", "Plot", "document", "file_names"]


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
        caption: what it shows.
        draw: makes the figure.
    """

    name: str
    caption: str
    draw: Callable[[], Figure] = attrs.field(repr=False)


Block: TypeAlias = Heading | Paragraph | Finding | Table | Plot


@attrs.frozen
class Document:
    """A title, and what comes below it."""

    title: str = attrs.field(converter=printable)
    blocks: tuple[Block, ...]


_HOW_MEASURED = (
    "Loss and accuracy are those over the whole training and testing sets, with the parameters at the end of an epoch. "
    "The loss is the data loss plus the penalties on the weights."
)


def document(runs: Sequence[RunRecord], title: str) -> Document:
    """The report on ``runs``, each with at least one epoch.

    A data set's only run is shown in full; several on one data set are compared, and shown in brief.

    Raises:
        ValueError: for no runs, or a run without epochs.
        TypeError: for a run that stands by itself.
    """
    if isinstance(runs, RunRecord):
        raise TypeError("a report is on a list of runs: [run]")
    if not runs or not all(run.epochs for run in runs):
        raise ValueError("a report needs at least one run, each with at least one epoch")
    blocks: list[Block] = [Paragraph(_HOW_MEASURED)]
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
            section = _comparison(dataset, [(place + 1, runs[place]) for place in places], names[places[0]])
        heading = f"{dataset}: {len(places)} runs" if len(places) > 1 else dataset
        blocks += [Heading(heading, new_page=places[0] > 0), *section]
    return Document(title, tuple(blocks))


def file_names(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """For each run a part of file names: its data set's name, safe in paths, numbered from the second on."""
    names: list[str] = []
    for run in runs:
        known = run.dataset.encode(sys.getfilesystemencoding(), "replace").decode(sys.getfilesystemencoding())
        stem = re.sub(r"[^\w.,+-]+", "-", known).encode()[:120].decode(errors="ignore").lstrip(".") or "-"
        taken = {name.casefold() for name in names}  # some file systems take a and A for one name
        candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name.casefold() not in taken))
    return tuple(names)


def _whole_run(run: RunRecord, name: str) -> Iterator[Block]:
    yield from _what_happened(run)
    yield Heading("Curves", 2)
    yield Plot(f"{name}-loss", "The loss and its parts, in training and testing.", lambda: loss_figure(run))
    yield Plot(
        f"{name}-parts", "The training loss as the sum of its parts: which of them moves it.", lambda: parts_figure(run)
    )
    if has_accuracy(run):
        yield Plot(f"{name}-accuracy", "The share of right answers.", lambda: accuracy_figure(run))
    yield Plot(f"{name}-rate", "The learning rate.", lambda: rate_figure(run))
    yield Plot(
        f"{name}-norms",
        "Norms of the total loss's gradient (over up to 1,000 training examples, at each epoch's end) and of the "
        "parameters.",
        lambda: norms_figure(run),
    )
    yield Plot(
        f"{name}-updates",
        "How much a step changes each array, relative to its norm: the median of some of the epoch's steps.",
        lambda: updates_figure(run),
    )
    yield from _classes(run, name)
    examination = run.examination
    if examination and examination.filters:
        yield Heading("Weights of the first layer", 2)
        yield Plot(
            f"{name}-weights",
            f"The weights of {len(examination.filters)} units of the first layer, those of largest norm, each on "
            "its own scale.",
            lambda: filters_figure(examination.filters),
        )
    yield Heading("How it was made", 2)
    yield from _tables(run)


def _what_happened(run: RunRecord) -> Iterator[Block]:
    yield summary_table(run)
    yield Heading("Findings", 2)
    yield Paragraph(verdict(run))
    yield from findings(run)


def _classes(run: RunRecord, name: str) -> Iterator[Block]:
    answers = run.examination.answers if run.examination else None
    if answers is None:
        return
    names = class_names(run)
    yield Heading("Answers, class by class", 2)
    if key := label_key(names):
        yield Paragraph(key)
    yield Plot(
        f"{name}-confusion",
        "The testing examples of each class (rows) by what they were taken for (columns).",
        lambda: confusion_figure(answers, names),
    )
    if (confusions := confusions_table(run)).rows:
        yield confusions
    yield Plot(
        f"{name}-classes",
        "How each class was recognised in testing, with its number of examples.",
        lambda: class_figure(answers, names),
    )
    yield class_table(run)
    yield Plot(
        f"{name}-reliability",
        "How often answers given with a certain confidence are right, and how many there are.",
        lambda: reliability_figure(answers),
    )
    if any(mistake.picture for mistake in answers.mistakes):
        yield Plot(
            f"{name}-mistakes",
            "The mistakes made with the most confidence: what was predicted, and what it is.",
            lambda: mistakes_figure(answers, names),
        )


def _tables(run: RunRecord) -> Iterator[Block]:
    yield settings_table(run)
    if run.layers:
        yield model_table(run)
    if run.data:
        yield data_table(run)
    if run.environment:
        yield environment_table(run)


def _comparison(dataset: str, runs: list[tuple[int, RunRecord]], name: str) -> Iterator[Block]:
    alone = tuple(run for _, run in runs)
    yield Plot(
        f"{name}-comparison",
        "Each recipe's mean over its runs, with the band from the lowest to the highest, as far as all of them got.",
        lambda: comparison_figure(alone),
    )
    yield settings_differences(alone)
    for number, run in runs:
        yield Heading(f"Run {number}: {dataset}, seed {run.seed}", 2)
        yield summary_table(run)
        yield Paragraph(verdict(run))
        yield from findings(run)
        yield settings_table(run)
