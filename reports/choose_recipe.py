"""How the recipes of ``funcnet lab-report`` were chosen.

    python reports/choose_recipe.py glyphs fashion-mnist cifar-10 cifar-100 --data DIR

Trains the lab's network for 20 epochs under each candidate on a part of the training set, rates it on the rest, the
validation part (as many images as the testing set has, by which nothing is rated), and writes the table to
reports/choose_recipe.md.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import attrs

from funcnet.data import Dataset, hold_out, load
from funcnet.lab import RECIPES, Recipe, run_lab
from funcnet.nonfinite import NonFiniteError
from funcnet.random import make_key
from funcnet.training import EpochRecord

EPOCHS = 20
RATES = {"glyphs": (0.05, 0.1), "fashion-mnist": (0.05, 0.1), "cifar-10": (0.03, 0.05), "cifar-100": (0.03, 0.05)}
L2 = {
    "glyphs": (1e-4, 3e-4, 1e-3),
    "fashion-mnist": (1e-4, 3e-4, 1e-3),
    "cifar-10": (1e-3, 3e-3, 5e-3),
    "cifar-100": (1e-3, 3e-3, 5e-3),
}
HEAD = """# How the recipes were chosen

The lab's network, {epochs} epochs, trained on a part of each training set and rated on the rest. Made by

    {command}

"""
COLUMNS = (
    "| hidden | peak rate | L2 | training loss, first epoch | last epoch | training accuracy | validation accuracy |"
)


def main() -> None:
    """Try every candidate for each named data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", choices=list(RATES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    command = f"python reports/choose_recipe.py {' '.join(options.datasets)} --data DIR"
    text = HEAD.format(epochs=EPOCHS, command=command)
    for name in options.datasets:
        text += f"## {name}\n\n{COLUMNS}\n|{' ---: |' * 7}\n"
        for row in sorted(rows(name, options.data), reverse=True):
            text += row[1] + "\n"
        text += "\n"
    options.out.write_text(text.rstrip() + "\n", encoding="utf-8")


def rows(name: str, folder: Path | None) -> list[tuple[float, str]]:
    """The validation accuracy of every candidate, with its row of the table."""
    dataset = load(name, folder)
    tried = hold_out(dataset, len(dataset.test), make_key(1))
    found = []
    for rate, l2 in itertools.product(RATES[name], L2[name]):
        recipe = attrs.evolve(RECIPES[name], peak_rate=rate, l2_hidden=l2, l2_output=l2)
        found.append(row(tried, recipe))
        print(name, found[-1][1], flush=True)
    return found


def row(dataset: Dataset, recipe: Recipe) -> tuple[float, str]:
    """Train once."""
    settings = f"| {recipe.hidden} | {recipe.peak_rate:g} | {recipe.l2_hidden:g} |"
    first: EpochRecord | None = None
    try:
        for record in run_lab(dataset, recipe, epochs=EPOCHS, seed=0):
            first = first or record
    except NonFiniteError:
        return 0.0, f"{settings} diverged | | | |"
    assert first is not None
    assert record.validation is not None
    return record.validation.accuracy, (
        f"{settings} {first.train.loss:.3f} | {record.train.loss:.3f} | {record.train.accuracy:.4f} "
        f"| {record.validation.accuracy:.4f} |"
    )


if __name__ == "__main__":
    main()
