"""The lab's report, in the lab's own layout, with funcnet's results beside the lab's.

    python reports/lab7.py --data DIR    # trains, 20 epochs on each set, then writes the pages
    python reports/lab7.py               # writes the pages again from the runs in reports/lab7/

What is known of the lab is in reports/lab_figures.py.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab_figures import LAB, SETS, lab_losses
from matplotlib.figure import Figure
from tqdm import tqdm

from funcnet.data import batch_count, load
from funcnet.files import write_whole
from funcnet.lab import RECIPES, lab_record, run_lab
from funcnet.record import RunRecord
from funcnet.report.document import Block, Document, Heading, Paragraph, Plot
from funcnet.report.findings import findings, verdict
from funcnet.report.pages import to_markdown_page, to_pdf
from funcnet.report.style import BLUE, PALETTE, finish, legend, new_figure
from funcnet.report.tables import environment_table, number, settings_table
from funcnet.run_file import read_run, write_run
from funcnet.step import Evaluation
from funcnet.table import Table

HERE = Path(__file__).parent
RUNS = HERE / "lab7"
CLASSES = {"fashion-mnist": 10, "cifar-10": 10, "cifar-100": 100}
EPOCHS, SEED = 20, 0


def train(name: str, data: Path) -> None:
    """Train on one set; the run's file is written after every epoch."""
    dataset, recipe = load(name, data), RECIPES[name]
    run = lab_record(dataset, recipe, seed=SEED, epochs=EPOCHS, command="python reports/lab7.py --data DIR")
    steps = EPOCHS * batch_count(dataset.train, recipe.batch_size)
    with tqdm(desc=name, total=steps, unit="step", dynamic_ncols=True) as bar:

        def watch(step: int, metrics: Evaluation) -> None:
            bar.update()

        for record in run_lab(dataset, recipe, epochs=EPOCHS, seed=SEED, callback=watch):
            run = run.and_epoch(record)
            write_run(run, RUNS / f"run-{name}.json")
            bar.set_postfix(loss=f"{record.train.loss:.3f}", accuracy=f"{record.test.accuracy:.3f}")


def curves(name: str, lab: Sequence[float], run: RunRecord) -> Figure:
    """The lab's plot of a data set, and the same of funcnet's run."""
    figure = new_figure(height=2.4, width=7.0)
    sides = (("The lab", lab, PALETTE[1]), ("funcnet", [e.loss for e in run.train], BLUE))
    for part, (title, losses, colour) in zip(list(figure.subfigures(1, 2, squeeze=False).flat), sides, strict=True):
        part.suptitle(title, fontsize=11)
        axes = part.subplots()
        axes.plot(range(1, len(losses) + 1), losses, color=colour, marker=".", label=name)
        finish(axes, "Loss After Each Epoch", "Epochs", "Loss")
        legend(axes)
    return figure


def table(name: str, run: RunRecord) -> Table:
    """The lab's table of a data set, with funcnet's columns beside."""
    lab, train, test = LAB[name], run.train[-1], run.test[-1]
    return Table(
        name,
        ("", "Lab: Final Loss", "Accuracy", "funcnet: Final Loss", "Accuracy"),
        (
            ("Training", *map(number, (lab.train_loss, lab.train_accuracy, train.loss, train.accuracy))),
            ("Testing", *map(number, (lab.test_loss, lab.test_accuracy, test.loss, test.accuracy))),
        ),
    )


def reflection(losses: Mapping[str, Sequence[float]], runs: Mapping[str, RunRecord]) -> list[Block]:
    """What the two sides show, in numbers."""
    rose = "; ".join(f"{name} {losses[name][0]:.1f} to {losses[name][-1]:.1f}" for name in SETS)
    ends = {name: (run.train[0].loss, run.train[-1].loss) for name, run in runs.items()}
    fell = "; ".join(f"{name} {number(ends[name][0])} to {number(ends[name][1])}" for name in SETS)
    apart = ", ".join(f"{LAB[name].test_loss - LAB[name].train_loss:.3f} ({name})" for name in SETS)
    shares = ", ".join(f"{math.log(CLASSES[name]) / losses[name][-1]:.2%}" for name in SETS)
    blocks: list[Block] = [
        Paragraph(
            f"The lab's total loss rose from the first epoch to the last while its networks learnt: {rose}. With the "
            f"same network funcnet's falls: {fell}."
        ),
        Paragraph(
            "What rose in the lab was the penalty on the weights. It does not depend on the examples, so training and "
            "testing loss differ by their cross-entropies alone, and they hardly differ: by "
            f"{apart}. The cross-entropy of a uniform guess would be only {shares} of the final losses. A loss that is "
            "all penalty says nothing of what a network has learnt; reports/rising_loss.md looks for the mistake that "
            "makes it rise."
        ),
    ]
    for name in SETS:
        blocks += [Paragraph(f"{name}: {verdict(runs[name])}"), *findings(runs[name])]
    return blocks


def lab_report(runs: Mapping[str, RunRecord]) -> Document:
    """The lab's report, section by section."""
    losses = lab_losses()
    blocks: list[Block] = [
        Paragraph(
            "One hidden layer, ReLU, softmax cross-entropy and an L2 penalty on each of the two weight matrices, "
            f"{EPOCHS} epochs. This page is made by python reports/lab7.py --data DIR."
        ),
        Heading("Training Curves"),
    ]
    for name in SETS:
        caption = f"{name}: the training set's total loss."
        blocks.append(Plot(f"lab7-{name}", caption, functools.partial(curves, name, losses[name], runs[name])))
    blocks += [Heading("Summary Tables"), *(table(name, runs[name]) for name in SETS)]
    blocks += [Heading("Reflection"), *reflection(losses, runs), Heading("How funcnet's runs were made")]
    for name in SETS:
        blocks += [Heading(name, 2), settings_table(runs[name])]
    return Document("Lab 7, again", (*blocks, environment_table(runs[SETS[0]])))


def write_pages(content: Document) -> None:
    """reports/lab7.pdf, reports/lab7.md and the figures it shows."""
    write_whole(HERE / "lab7.pdf", to_pdf(content))
    write_whole(HERE / "lab7.md", to_markdown_page(content, "lab7"))
    for block in content.blocks:
        if isinstance(block, Plot):
            block.draw().savefig(RUNS / f"{block.name}.png", dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="train on the data sets in this folder first")
    options = parser.parse_args()
    if options.data is not None:
        for name in SETS:
            train(name, options.data)
    write_pages(lab_report({name: read_run(RUNS / f"run-{name}.json") for name in SETS}))


if __name__ == "__main__":
    main()
