"""What ``lab-report`` and ``report`` share: saying how runs ended, and writing their report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from funcnet.cli.terminal import say
from funcnet.record import RunRecord

__all__ = ["write_pages"]


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
