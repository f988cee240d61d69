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
from funcnet.report.epochs import set_epochs
from funcnet.report.findings import findings, verdict
from funcnet.report.pages import to_markdown_page, to_pdf
from funcnet.report.style import BLUE, PAGE, PALETTE, finish, from_zero, legend, new_figure
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


def curves(name: str, lab: Sequence[float], run: RunRecord, width: float = PAGE) -> Figure:
    """The lab's plot of a data set, and the same of funcnet's run, both from 0 up."""
    beside = width == PAGE
    figure = new_figure(2.4 if beside else 4.8, 7.0 if beside else width)
    sides = (("The lab", lab, PALETTE[1]), ("funcnet", [e.loss for e in run.train], BLUE))
    parts = figure.subfigures(1, 2, squeeze=False) if beside else figure.subfigures(2, 1, squeeze=False)
    for part, (title, losses, colour) in zip(parts.flat, sides, strict=True):
        part.suptitle(title, fontsize=11)
        axes = part.subplots()
        axes.plot(range(1, len(losses) + 1), losses, color=colour, marker=".", label=name)
        finish(axes, "Loss After Each Epoch", "Epochs", "Loss")
        set_epochs(axes, len(losses), most=5)
        from_zero(axes)
        legend(axes)
    return figure


def caption(name: str, lab: Sequence[float], run: RunRecord) -> str:
    """What the two curves of a data set show."""
    first, last = run.train[0].loss, run.train[-1].loss
    return (
        f"Total training loss on {name}. The lab's {'rose' if lab[-1] > lab[0] else 'fell'} from {lab[0]:.1f} to "
        f"{lab[-1]:.1f}, funcnet's {'rose' if last > first else 'fell'} from {number(first)} to {number(last)}. Both "
        "axes begin at 0, but their scales differ."
    )


def table(name: str, run: RunRecord) -> Table:
    """The lab's table of a data set, with funcnet's columns beside."""
    lab, train, test = LAB[name], run.train[-1], run.test[-1]
    return Table(
        name,
        ("", "Lab: Final Loss", "Lab: Accuracy", "funcnet: Final Loss", "funcnet: Accuracy"),
        (
            ("Training", *map(number, (lab.train_loss, lab.train_accuracy, train.loss, train.accuracy))),
            ("Testing", *map(number, (lab.test_loss, lab.test_accuracy, test.loss, test.accuracy))),
        ),
    )


def data_sets(runs: Mapping[str, RunRecord]) -> Table:
    """What the images are that the lab is about."""
    facts = {name: run.data for name, run in runs.items() if run.data}
    return Table(
        "The data sets",
        ("", "Training images", "Testing images", "Classes", "Size"),
        tuple(
            (
                name,
                f"{data.train_examples:,}",
                f"{data.test_examples:,}",
                f"{len(data.classes)}",
                " x ".join(map(str, data.in_shape)),
            )
            for name, data in facts.items()
        ),
    )


INTRODUCTION = (
    "Lab 7 is a student's exercise: train a network with one hidden layer on three sets of images, plot the training "
    "loss after each epoch, tabulate the final loss and accuracy in training and testing, and reflect on them. The "
    "network is a linear layer, ReLU and a second linear layer. The loss is softmax cross-entropy plus an L2 penalty "
    f"on each of the two weight matrices. There are {EPOCHS} epochs.",
    "One student's report has a puzzle: the total loss rose after every epoch, while the accuracies show that the "
    "network learnt. The report does not state the width of the network, the learning rate or the coefficients of the "
    "penalties. This page repeats the exercise with funcnet, in the layout of the student's report, and shows the "
    "results of the two side by side. The settings of funcnet's runs are at the end. The page is made by "
    "python reports/lab7.py --data DIR.",
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
            "What rose in the lab must be the penalty on the weights. It does not depend on the examples, so the "
            "training loss and the testing loss differ by their cross-entropies alone, and the testing loss minus the "
            f"training loss is only {apart}. The cross-entropy of a uniform guess is {shares} of the final losses. A "
            "loss that is nearly all penalty does not tell what a network has learnt. reports/rising_loss.md looks for "
            "the mistake that makes it rise."
        ),
    ]
    for name in SETS:
        blocks += [Paragraph(f"{name}: {verdict(runs[name])}"), *findings(runs[name])]
    return blocks


def lab_report(runs: Mapping[str, RunRecord]) -> Document:
    """The lab's report, section by section."""
    losses = lab_losses()
    blocks: list[Block] = [*map(Paragraph, INTRODUCTION), data_sets(runs), Heading("Training Curves")]
    blocks += [
        Plot(
            f"lab7-{name}",
            f"Line charts of the total training loss on {name} by epoch, of the lab and of funcnet",
            caption(name, losses[name], runs[name]),
            functools.partial(curves, name, losses[name], runs[name]),
            wide=True,
        )
        for name in SETS
    ]
    blocks += [Heading("Summary Tables"), *(table(name, runs[name]) for name in SETS)]
    blocks += [Heading("Reflection"), *reflection(losses, runs), Heading("How funcnet's runs were made")]
    for name in SETS:
        blocks += [Heading(name, 2), settings_table(runs[name])]
    return Document("Lab 7: a student's results and funcnet's", (*blocks, environment_table(runs[SETS[0]])))


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
