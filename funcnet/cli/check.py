"""``funcnet check``: prove the library as it is installed here, or layers of one's own."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

import attrs
from tqdm import tqdm

from funcnet import random
from funcnet.check.suite import NoShapeError, Subject, subject_of, subjects
from funcnet.check.verdict import CheckError
from funcnet.cli.terminal import INTERRUPTED, complain, interruptible, room, say, whole_number
from funcnet.environment import environment
from funcnet.random import make_key
from funcnet.shapes import Shape

__all__ = ["add_to"]

_COLUMNS, _WIDE = "{:<40} {:>14} {:>17} {:>13}  {}", 100  # of a terminal


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="prove the derivatives of the library, or of a layer of your own",
        description="Prove every layer, loss, penalty and optimizer of the library, as installed here, on random "
        "configurations: derivatives, purity, shapes and dtypes, float32 against float64. MODULE:NAME names something "
        "else to prove: a layer, loss, penalty or optimizer, or a function without arguments that returns one. What "
        "takes only special inputs, special targets or whole batches is proven in Python, by the functions of "
        "funcnet.check. The exit status is 0 if all held.",
    )
    parser.add_argument("names", nargs="*", metavar="MODULE:NAME", help="what to prove instead of the library")
    parser.add_argument(
        "--configurations",
        type=whole_number(1),
        default=60,
        metavar="N",
        help="how many random ones for each (default: 60)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**64 - 1),
        default=0,
        metavar="N",
        help="the seed of all randomness (default: 0)",
    )
    parser.add_argument(
        "--in-shape", type=_shape, metavar="N,N,...",
        help="the shape of one example, such as 28,28, for layers that take only some shapes (default: random shapes)",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _shape(text: str) -> Shape:
    try:
        shape = tuple(int(length) for length in text.removesuffix(",").split(","))
    except ValueError:
        shape = (-1,)
    if min(shape, default=1) < 1:
        raise argparse.ArgumentTypeError(f"expected lengths such as 28,28, got {text!r}")
    return shape


def _run(options: argparse.Namespace) -> int:
    if options.in_shape is not None and not options.names:
        complain(
            "funcnet: error: --in-shape is the shape of an example for what MODULE:NAME names, and nothing is named"
        )
        return 2
    try:
        chosen = [_import(name, options.in_shape) for name in options.names] or list(subjects())
    except _NotFoundError as error:
        complain(f"funcnet: error: {error}")
        return 2
    machine = dict(environment())
    say(f"funcnet {machine['funcnet']}, NumPy {machine['NumPy']}, {machine['BLAS']}, {machine['processor']}\n")
    if _wide():
        say(_COLUMNS.format("subject", "configurations", "numbers compared", "worst error*", ""))
    outcomes = []
    with interruptible() as interrupted, _bar(len(chosen) * options.configurations) as bar:
        for number, subject in enumerate(chosen):
            if interrupted():
                break
            outcome = _prove(subject, number, options, bar, interrupted)
            bar.clear()
            outcomes.append(outcome)
            say(_row(outcome))
            if outcome.trouble:
                say(_indented(outcome.trouble))
    say(_summary(outcomes))
    if interrupted():
        complain(f"Stopped by Ctrl-C; {len(chosen) - len(outcomes)} subjects were not begun.")
        return INTERRUPTED
    return 1 if any(outcome.trouble for outcome in outcomes) else 0


@attrs.frozen
class _Outcome:
    """What became of a subject: how much was compared, the worst error as a share of its tolerance, any trouble."""

    name: str
    configurations: int = 0
    compared: int = 0
    worst: float = 0.0
    verdict: str = "held"
    trouble: str = ""


def _prove(
    subject: Subject, number: int, options: argparse.Namespace, bar: tqdm[Any], interrupted: Callable[[], int]
) -> _Outcome:
    outcome = _Outcome(subject.name)
    bar.set_description(f"{subject.name:.30}")
    subject_key = random.fold_in(make_key(options.seed), number)
    for configuration in range(options.configurations):
        if interrupted():
            return attrs.evolve(outcome, verdict="held so far")
        try:
            report = subject.check(random.fold_in(subject_key, configuration))
        except CheckError as error:
            bar.update(options.configurations - configuration)
            return attrs.evolve(outcome, verdict="REFUTED", trouble=str(error))
        except NoShapeError as error:
            bar.update(options.configurations - configuration)
            return attrs.evolve(outcome, verdict="FAILED", trouble=str(error))
        except Exception:  # of the user's own code, whatever it is
            bar.update(options.configurations - configuration)
            return attrs.evolve(outcome, verdict="FAILED", trouble=traceback.format_exc())
        outcome = attrs.evolve(
            outcome,
            configurations=configuration + 1,
            compared=outcome.compared + report.compared,
            worst=max(outcome.worst, report.worst.worst),
        )
        bar.update()
    return outcome


def _wide() -> bool:
    return (room(sys.stdout) or _WIDE) >= _WIDE


def _row(outcome: _Outcome) -> str:
    if not _wide():
        worst = f", worst error* {outcome.worst:.1e}" if outcome.compared else ""
        return (
            f"{outcome.name}: {outcome.verdict}\n  {outcome.configurations:,} configurations, {outcome.compared:,} "
            f"numbers compared{worst}"
        )
    return _COLUMNS.format(
        outcome.name,
        f"{outcome.configurations:,}",
        f"{outcome.compared:,}",
        f"{outcome.worst:.1e}" if outcome.compared else "",
        outcome.verdict,
    ).rstrip()


def _summary(outcomes: list[_Outcome]) -> str:
    total = _Outcome(
        "all",
        sum(outcome.configurations for outcome in outcomes),
        sum(outcome.compared for outcome in outcomes),
        max((outcome.worst for outcome in outcomes), default=0.0),
        f"{sum(bool(outcome.trouble) for outcome in outcomes)} of {len(outcomes)} refuted or failed",
    )
    return f"{_row(total)}\n\n* the largest error found, as a share of what rounding and measuring may explain"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def _bar(total: int) -> tqdm[Any]:
    return tqdm(total=total, unit="check", disable=None, leave=False, dynamic_ncols=True)


class _NotFoundError(Exception):
    """There is nothing of this name that could be proven."""


def _import(name: str, in_shape: Shape | None) -> Subject:
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise _NotFoundError(f"expected MODULE:NAME, such as mylayers:scale, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder one stands in, as with python -m
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        return subject_of(found, in_shape)
    except Exception as error:  # of the module itself, or of the function that makes the layer
        path = (
            " (a module is named as in an import: mylayers, not ./mylayers.py)" if "/" in name or ".py:" in name else ""
        )
        raise _NotFoundError(f"{name}: {type(error).__name__}: {error}{path}") from error
