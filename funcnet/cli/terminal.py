"""What the commands share: arguments, Ctrl-C, and printing that survives closed pipes and every encoding."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "complain", "interruptible", "prepare_streams", "room", "say", "text", "whole_number"]

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


def text(argument: str) -> str:
    """An argument that is text. What the locale could not decode is read as UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode(errors="backslashreplace")
    return argument


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
        print(_wrapped(str(text), stream), file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def room(stream: Any) -> int | None:
    """The columns of the terminal that the stream goes to, or of ``COLUMNS``; None for a file or a pipe."""
    if "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return os.get_terminal_size(stream.fileno()).columns or 80 if stream.isatty() else None


def _wrapped(text: str, stream: Any) -> str:
    """The text with its lines broken between words. A path or a command that no line holds stays whole."""
    width = room(stream)
    if width is None:
        return text
    encoding = stream.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)  # as long as it will be
    lines = text.split("\n")
    return "\n".join(line if len(line) <= width or "\x1b" in line else _broken(line, width) for line in lines)


def _broken(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def prepare_streams() -> None:
    r"""See that nothing said to the standard streams can fail.

    Of a program that was started with its output or errors closed, it goes nowhere. What the encoding lacks is written
    as ``\u732b``.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", errors="backslashreplace"))  # noqa: SIM115, as long as the program runs
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
