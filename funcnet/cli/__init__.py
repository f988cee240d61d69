"""The command line: ``funcnet lab-report``, ``report``, ``check`` and ``doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from funcnet import __version__
from funcnet.cli import check, doctor, lab_report, report
from funcnet.cli.terminal import INTERRUPTED, complain, open_missing_streams
from funcnet.data.dataset import DataError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    open_missing_streams()
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (DataError, OSError) as error:
        complain(f"funcnet: error: {error}")
        return 1
    except KeyboardInterrupt:
        complain("funcnet: stopped")
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="funcnet", description="Neural networks as values and pure functions.")
    parser.add_argument("--version", action="version", version=f"funcnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lab_report.add_to(commands)
    report.add_to(commands)
    check.add_to(commands)
    doctor.add_to(commands)
    return parser
