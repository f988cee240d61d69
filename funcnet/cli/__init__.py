"""The command line: ``funcnet lab-report``, ``train``, ``report``, ``check`` and ``doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from funcnet import __version__
from funcnet.cli import check, doctor, lab_report, report, train
from funcnet.cli.terminal import INTERRUPTED, complain, prepare_streams
from funcnet.data.dataset import DataError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except DataError as error:
        complain(f"funcnet: error: {error}")
        return 1
    except OSError as error:
        complain(f"funcnet: error: {f'{error.filename}: {error.strerror}' if error.filename else error}")
        return 1
    except KeyboardInterrupt:
        complain("funcnet: stopped")
        return INTERRUPTED
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(f"{self.format_usage()}{self.prog}: error: {message}")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="funcnet", description="Neural networks as values and pure functions."
    )
    parser.add_argument("--version", action="version", version=f"funcnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lab_report.add_to(commands)
    train.add_to(commands)
    report.add_to(commands)
    check.add_to(commands)
    doctor.add_to(commands)
    return parser
