"""``funcnet report``: make the report of runs again from their files, or compare several."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from funcnet.cli.pages import expect_room, write_pages
from funcnet.cli.terminal import complain, text
from funcnet.data.dataset import DataError
from funcnet.files import make_folder
from funcnet.record import RunRecord
from funcnet.run_file import read_run

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    report = commands.add_parser(
        "report",
        help="make the report of runs from their files, without training",
        description="Make the report of runs again from the files that lab-report or write_run wrote, without "
        "training. Several runs on one data set are compared: their means and ranges, and how their settings differ.",
    )
    report.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's file, or a folder with files called run*.json"
    )
    report.add_argument("--title", type=text, default="Lab report", help="the report's title (default: %(default)s)")
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for the report")
    report.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    runs = list(_read(options.runs))
    if not runs:
        raise DataError("a report needs at least one run with at least one epoch")
    make_folder(options.out)
    expect_room(runs, options.out)
    write_pages(runs, options.out, options.title)
    return 0


def _read(paths: Sequence[Path]) -> Iterator[RunRecord]:
    seen: list[RunRecord] = []
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        run = read_run(file)
        if run in seen:
            complain(f"{file}: this run is there already.")
        elif run.epochs:
            seen.append(run)
            yield run
        else:
            complain(f"{file}: no epoch was finished, so there is nothing to report of it.")


def _parts(file: Path) -> list[str]:
    return re.split(r"(\d+)", file.stem)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # run-a-10.json after run-a-2.json, and that after run-a.json: as a report numbers them.
    found = sorted(
        path.glob("run*.json"), key=lambda file: [(len(s), s) if s.isdigit() else (0, s) for s in _parts(file)]
    )
    if not found:
        raise DataError(f"{path}: expected a folder with files called run*.json, found none")
    return found
