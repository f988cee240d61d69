"""What ``lab-report`` and ``report`` share: saying how runs ended, and writing their report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from funcnet.cli.terminal import say
from funcnet.data.dataset import DataError
from funcnet.record import RunRecord
from funcnet.run_file import file_names, read_run, run_file_name

__all__ = ["expect_room", "write_pages"]


def expect_room(runs: Sequence[RunRecord], out: Path) -> None:
    """See that the report on ``runs`` replaces no file of another run.

    Raises:
        DataError: where it would.
    """
    for name, run in zip(file_names(runs), runs, strict=True):
        if (path := out / run_file_name(name)).exists() and not _is_same(there := read_run(path), run):
            raise DataError(
                f"{path} holds another run (seed {there.seed}, {there.epochs} epoch{'' if there.epochs == 1 else 's'}"
                f"{f', by {there.command}' if there.command else ''}), which would be lost: choose another folder with "
                "--out, or move it"
            )


def _is_same(one: RunRecord, other: RunRecord) -> bool:
    """Whether both are the same run, made again or gone on with. Some settings are known after the first epoch only."""
    facts = ((run.dataset, run.seed, run.command, run.planned_epochs) for run in (one, other))
    some, others = set(one.settings), set(other.settings)
    return len(set(facts)) == 1 and (some <= others or others <= some)


def write_pages(runs: Sequence[RunRecord], out: Path, title: str) -> None:
    """Say how each run ended and what the rules found in it, and write the report, showing progress."""
    from funcnet.report import findings, summary_table, to_terminal, verdict, write_report  # matplotlib

    for run in runs:
        say(f"\n{to_terminal(summary_table(run))}\n{verdict(run)}")
        for finding in findings(run):
            say(f"* {finding.title}. {finding.text}")
    with tqdm(desc="writing the report", unit="file", disable=None, leave=False, dynamic_ncols=True) as bar:
        paths = write_report(runs, out, title, watch=lambda path: bar.update())
    above = ", ".join(str(path) for path in paths if path.parent == out)
    say(f"\nWrote {above}, and the figures in {out / 'figures'}.")
