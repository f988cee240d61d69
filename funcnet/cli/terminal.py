"""What the commands share: numbers read from arguments, Ctrl-C, and printing to whoever still reads."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "complain", "interruptible", "open_missing_streams", "say", "whole_number"]

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A parser of arguments that are whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        wanted = f"a whole number from {low}" + (f" to {high}" if high is not None else " up")
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}") from None
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"expected {wanted}, got {text}")
        return number

    return parse


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Within, the first Ctrl-C or SIGTERM is only noted, for whoever asks for its number; a second one acts at once."""
    noted = 0

    def note(signal_number: int, frame: FrameType | None) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = signal_number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: object) -> None:
    """Print, as long as anybody reads: a closed pipe is no reason to lose a training run."""
    _print(text, sys.stdout)


def complain(text: object) -> None:
    """The same to the standard error: whoever read both may have gone with the same Ctrl-C."""
    _print(text, sys.stderr)


def _print(text: object, stream: Any) -> None:
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_missing_streams() -> None:
    """Of a program that was started with its output or errors closed, what it says goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115, as long as the program runs
