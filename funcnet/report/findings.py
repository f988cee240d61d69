"""What happened in a run, by rules from its numbers.

Each rule states what it saw with the numbers it saw it in, and the threshold it went by. The thresholds are the
constants below: conventions, not laws, chosen so that the recipes of this library pass and the textbook's troubles do
not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import attrs

from funcnet.record import RunRecord
from funcnet.report.statistics import two_proportion_z
from funcnet.report.tables import class_names, interval, loss_label, number
from funcnet.step import Evaluation
from funcnet.training import EpochNumbers, Numbers

__all__ = ["RULES", "Finding", "findings", "verdict"]

# A total that rises, and a data loss that falls, by more than this between the first epoch and the last.
MOVED = 0.01
# A penalty falls for certain where its own gradient is so many times as long as the data loss's, and moves the weights
# so many times as far as the noise of the steps; the rule is for one that rises all the same, in so many epochs, by so
# much each.
DOMINANT, DOMINATED_EPOCHS, DOMINATED_RISE = 2.0, 2, 0.001
# The gap between training and testing accuracy, and the rise of the testing loss from its lowest, of over-fitting.
ACCURACY_GAP, LOSS_RISE = 0.10, 0.05
# The share of a uniform guess's cross-entropy that is still there when a network has learnt too little, and the
# accuracy in training that it does not reach.
UNLEARNT, KNOWN = 0.5, 0.9
# The rise of the training loss from its lowest that is no fluctuation any more.
DIVERGED = 0.5
# The share of the highest loss of a run below which a change of it is no trouble, however large beside the lowest.
NEGLIGIBLE = 0.02
# The least improvement over the last quarter of the epochs, while the rate is still above this share of its highest.
PLATEAU, PLATEAU_RATE, PLATEAU_EPOCHS = 0.01, 0.1, 8
# The share of a ReLU layer's units that were 0 for every example.
DEAD = 0.05
# By which factor the relative gradients (norm over the parameters' norm) of the first and the last layer may differ.
GRADIENT_RATIO = 1000.0
# By which factor the gradient's norm may grow in a run.
GRADIENT_GROWTH = 100.0
# The update-to-weight ratio of a step; about 0.001 is usual (Karpathy, CS231n notes, "Neural networks part 3").
RATIO_HIGH, RATIO_LOW = 0.03, 1e-5
# The examples of the largest class for each one of the smallest.
IMBALANCE = 2.0
# Standard deviations by which testing may be better than training by chance: less than one run in 700.
CHANCE = 3.0

_DEGREES = {"l1": 1, "l2": 2}  # P(t w) = t^degree P(w)


@attrs.frozen
class Finding:
    """Something a reader should know of a run.

    Attributes:
        rule: the name of the rule that found it.
        title: what it is, in a few words.
        text: what was seen, with its numbers.
        threshold: what the rule goes by.
    """

    rule: str
    title: str
    text: str
    threshold: str


def findings(run: RunRecord) -> tuple[Finding, ...]:
    """What the rules find in the run, each with its evidence; nothing for a healthy one.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to look at")
    return tuple(finding for rule in RULES for finding in rule(run))


def verdict(run: RunRecord) -> str:
    """The run in a line: how loss and accuracy went, and how many of the rules found something.

    Raises:
        ValueError: for a run without epochs.
    """
    found, test = findings(run), run.test[-1]
    rules = (
        f"None of {len(RULES)} rules found anything wrong"
        if not found
        else f"{len(found)} finding{'s' if len(found) > 1 else ''} by {len(RULES)} rules"
    )
    first, last = run.train[0], run.train[-1]
    if run.epochs == 1:
        text = f"{rules}: after 1 epoch, the {loss_label(run)} is {_said(last.data_loss)} in training and "
    else:
        text = (
            f"{rules}: over {_epochs(run)}, the {loss_label(run)} went from {_said(first.data_loss)} to "
            f"{_said(last.data_loss)} in training and ended at "
        )
    text += f"{_said(test.data_loss)} in testing"
    if math.isnan(test.accuracy):
        return f"{text}."
    within = interval(run, test)
    return f"{text}, with an accuracy of {number(test.accuracy)}{f' (95% interval {within})' if within else ''}."


def _ended_early(run: RunRecord) -> Iterator[Finding]:
    planned = run.planned_epochs
    if run.epochs < planned if planned is not None else run.ended:
        reason = run.ended.rstrip(".") or "It was stopped, or is still running"
        yield Finding(
            "ended early",
            "The run ended early",
            f"It lasted {_epochs(run)}{f' of {planned}' if planned is not None else ''}. {reason}.",
            "fewer epochs than planned, or a reason to end",
        )


def _penalty_dominates(run: RunRecord) -> Iterator[Finding]:
    first, last = run.train[0], run.train[-1]
    total_rose = last.loss - first.loss > MOVED * abs(first.loss)
    data_fell = first.data_loss - last.data_loss > MOVED * abs(first.data_loss)
    if not (last.penalties and total_rose and data_fell):
        return
    rises = [(b.value - a.value, a, b) for a, b in zip(first.penalties, last.penalties, strict=True)]
    rise, before, after = max(rises, key=lambda row: row[0])
    share = last.penalty / last.loss if last.loss > 0 else math.nan
    part = f"{share:.1%} of the total" if share <= 1 else f"{number(last.penalty)} of a total of {number(last.loss)}"
    yield Finding(
        "penalty dominates",
        f"The total loss rose because a penalty did, while the {loss_label(run)} fell",
        f"The total rose {_from_to(first.loss, last.loss)} while the {loss_label(run)} fell "
        f"{_from_to(first.data_loss, last.data_loss)}. The {after.name} penalty of {after.path} rose most, by "
        f"{number(rise)} ({_from_to(before.value, after.value)}). At the end the penalties are {part}: judge the "
        f"network by {loss_label(run)} and accuracy.",
        f"the total rises by more than {MOVED:.0%} while the {loss_label(run)} falls by more than {MOVED:.0%}",
    )


def _penalty_ignored(run: RunRecord) -> Iterator[Finding]:
    """A penalty that rose where descent must lower it.

    By Euler's theorem on homogeneous functions, w . grad P = d P for P of degree d, so the gradient of P is at least
    d P / |w| long, whatever the program made of it. Where that is longer than the data loss's gradient g, a small step
    down the total goes against grad P: grad P . (g + grad P) >= |grad P| (|grad P| - |g|) > 0. The step is small
    enough where rate |grad P| < |w|. Steps on batches are noisy, and noise alone makes w longer, by |step|^2 / (2 |w|)
    each; so the penalty's pull, rate |grad P|, must be longer than that too.
    """
    for place, penalty in enumerate(run.train[0].penalties):
        degree = _DEGREES.get(penalty.name)
        if degree is None:
            continue
        rises = []
        for before, after in zip(run.history, run.history[1:], strict=False):
            sizes = [
                (e, _least_gradient(e, place, degree), _of(e.data_gradient_norms, penalty.path))
                for e in (before, after)
            ]
            a, b = before.train.penalties[place].value, after.train.penalties[place].value
            if b > a * (1 + DOMINATED_RISE) and all(_must_fall(e, penalty.path, p, g) for e, p, g in sizes):
                rises.append((after.epoch, sizes[1][1], sizes[1][2], a, b))
        if len(rises) >= DOMINATED_EPOCHS:
            epoch, own_norm, data_norm, a, b = max(rises, key=lambda row: row[4] - row[3])
            yield Finding(
                "penalty ignored",
                f"The {penalty.name} penalty of {penalty.path} does not respond to its own gradient",
                f"It rose in {len(rises)} epochs in which its own gradient was the larger one, so that a step down the "
                f"total loss lowers it: {_from_to(a, b)} in epoch {epoch}, where that gradient's norm "
                f"is at least {number(own_norm)} against {number(data_norm)} of the {loss_label(run)}'s. Its gradient "
                "is missing from the update, or has the wrong sign; or the data's gradient, which is measured on a "
                "part of the training set, is much larger on the rest.",
                f"a rise of more than {DOMINATED_RISE:.1%} in {DOMINATED_EPOCHS} epochs or more in which its gradient "
                f"is more than {DOMINANT:g} times as long as the {loss_label(run)}'s, and moves the weights more than "
                f"{DOMINANT:g} times as far as the noise of the steps",
            )


def _least_gradient(epoch: EpochNumbers, place: int, degree: int) -> float:
    """The least norm that the gradient of a penalty of that degree can have."""
    penalty = epoch.train.penalties[place]
    norm = _of(epoch.parameter_norms, penalty.path)
    return degree * penalty.value / norm if norm > 0 else math.nan


def _must_fall(epoch: EpochNumbers, path: str, own: float, data: float) -> bool:
    """Whether steps down the total loss make the penalty smaller, its gradient and the data loss's so long."""
    norm, step = _of(epoch.parameter_norms, path), _of(epoch.update_ratios, path)
    pull = epoch.learning_rate * own / norm if norm > 0 else math.nan
    return own > DOMINANT * data and DOMINANT * step**2 / 2 < pull < 1


def _of(numbers: Numbers, path: str) -> float:
    return dict(numbers).get(path, math.nan)  # with which every comparison fails


def _over_fitting(run: RunRecord) -> Iterator[Finding]:
    gaps = [a.accuracy - b.accuracy for a, b in zip(run.train, run.test, strict=True)]
    losses = [e.data_loss for e in run.test]
    best = _lowest(losses)
    lowest, last = losses[best], losses[-1]
    rose = _rose(losses, LOSS_RISE) and run.train[-1].data_loss < run.train[best].data_loss
    seen = []
    if gaps[-1] > ACCURACY_GAP and _deviations_apart(run.train[-1], run.test[-1]) > CHANCE:
        since = max(e for e in range(run.epochs) if e == 0 or not gaps[e - 1] > ACCURACY_GAP)
        seen.append(
            f"Training accuracy is {number(run.train[-1].accuracy)}, testing accuracy {number(run.test[-1].accuracy)}: "
            f"a gap of {number(gaps[-1])}, above {ACCURACY_GAP:g} since epoch {since + 1}."
        )
    if rose:
        seen.append(
            f"The {loss_label(run)} in testing rose {_from_to(lowest, last)} since epoch {best + 1}, when it was "
            f"lowest, while that in training fell {_from_to(run.train[best].data_loss, run.train[-1].data_loss)}."
        )
    if seen:
        yield Finding(
            "over-fitting",
            "The network over-fits: it knows the training set better than what it stands for",
            " ".join(seen),
            f"an accuracy gap above {ACCURACY_GAP:g} and {CHANCE:g} standard deviations, or a testing "
            f"{loss_label(run)} more than {LOSS_RISE:.0%} above its lowest while training goes on falling",
        )


def _under_fitting(run: RunRecord) -> Iterator[Finding]:
    train, test = run.train[-1], run.test[-1]
    if run.examination is None or run.examination.answers is None or "cross-entropy" not in run.loss_name:
        return
    if any((*_divergence(run), *_over_fitting(run))):
        return  # what it knew and lost, or knows of the training set alone, it has learnt
    guess = math.log(len(run.examination.answers.confusion))
    # Of smoothed labels a part of the cross-entropy stays, however well they are known.
    if train.data_loss > UNLEARNT * guess and train.accuracy - test.accuracy < ACCURACY_GAP and train.accuracy < KNOWN:
        yield Finding(
            "under-fitting",
            "The network under-fits: it has learnt little even of the training set",
            f"The {loss_label(run)} in training ended at {number(train.data_loss)}, where a uniform guess has "
            f"{number(guess)}; accuracy is {number(train.accuracy)} in training and "
            f"{number(test.accuracy)} in testing.",
            f"more than {UNLEARNT:.0%} of a uniform guess's cross-entropy, an accuracy gap below {ACCURACY_GAP:g}, and "
            f"an accuracy in training below {KNOWN:g}",
        )


def _divergence(run: RunRecord) -> Iterator[Finding]:
    losses = [e.data_loss for e in run.train]
    best = _lowest(losses)
    threshold = f"a training {loss_label(run)} more than {DIVERGED:.0%} above its lowest, or a loss that is not finite"
    if _rose(losses, DIVERGED) or not all(map(math.isfinite, losses)):
        yield Finding(
            "divergence",
            "Training diverged",
            f"The {loss_label(run)} in training was lowest in epoch {best + 1}, {_said(losses[best])}, and ended at "
            f"{_said(losses[-1])} ({_said(run.test[-1].data_loss)} in testing), at a learning rate of "
            f"{run.history[-1].learning_rate:.3g}.",
            threshold,
        )
        return
    for epoch in run.history:
        parts = [(f"the {p.name} penalty of {p.path}", p.value) for p in epoch.train.penalties]
        parts.append((f"the {loss_label(run)} in testing", epoch.test.data_loss))
        for name, value in parts:
            if not math.isfinite(value):
                yield Finding(
                    "divergence",
                    "A loss is not finite",
                    f"In epoch {epoch.epoch}, {name} is {_said(value)}, though the {loss_label(run)} in training is "
                    f"{number(epoch.train.data_loss)}.",
                    threshold,
                )
                return


def _lowest(losses: Sequence[float]) -> int:
    """Where the lowest of the losses is; what is not a number is none."""
    return min(range(len(losses)), key=lambda place: math.inf if math.isnan(losses[place]) else losses[place])


def _rose(losses: Sequence[float], share: float) -> bool:
    """Whether the last is above the lowest by more than a share of it, and by what is not negligible."""
    known = [loss for loss in losses if not math.isnan(loss)]
    if not known or math.isinf(losses[-1]):
        return False
    lowest = min(known)
    rise = losses[-1] - lowest
    return rise > share * abs(lowest) and rise > NEGLIGIBLE * max(abs(loss) for loss in known)


def _said(value: float) -> str:
    return "no number" if math.isnan(value) else number(value)


def _from_to(a: float, b: float) -> str:
    """Two numbers as tables show them, or with as many digits as it takes to tell them apart."""
    shown = [number(a), number(b)]
    for digits in range(4, 18):
        if a == b or shown[0] != shown[1]:
            break
        shown = [f"{value:.{digits}g}" for value in (a, b)]
    return f"from {shown[0]} to {shown[1]}"


def _fold(factor: float) -> str:
    return f"{factor:,.0f}" if factor < 1e6 else f"{factor:.2e}"


def _plateau(run: RunRecord) -> Iterator[Finding]:
    if run.epochs < PLATEAU_EPOCHS:
        return
    quarter = run.epochs // 4
    before, last = run.train[-1 - quarter], run.train[-1]
    losses = [e.data_loss for e in run.train[-1 - quarter :]]
    change = (max(losses) - min(losses)) / max(map(abs, losses)) if any(losses) else 0.0
    rates = [e.learning_rate for e in run.history]
    rate = statistics.mean(rates[-quarter:]) / max(rates) if any(rates) else 0.0
    # Rates are those of the epochs' ends. Where they were higher in between, the steps tell.
    steps = [ratio for e in run.history[-quarter:] for _, ratio in e.update_ratios]
    at_rest = bool(steps) and max(steps) < RATIO_LOW
    if change < PLATEAU and rate > PLATEAU_RATE and not at_rest and last.accuracy != 1:
        yield Finding(
            "plateau",
            "Training stands still",
            f"Over the last {quarter} epochs the {loss_label(run)} in training went "
            f"{_from_to(before.data_loss, last.data_loss)}, never more than {change:.2%} apart, though the "
            f"learning rate was still {rate:.0%} of its highest: more epochs like these change nothing.",
            f"a change below {PLATEAU:.0%} over the last quarter of {PLATEAU_EPOCHS} epochs or more, at a rate above "
            f"{PLATEAU_RATE:.0%} of the highest",
        )


def _dead_units(run: RunRecord) -> Iterator[Finding]:
    for layer in run.examination.activity if run.examination else ():
        share = layer.never_active / layer.units if layer.units else 0.0
        if share > DEAD:
            yield Finding(
                "dead units",
                f"Units of {layer.path} {layer.name} are dead",
                f"{layer.never_active:,} of {layer.units:,} units ({share:.1%}) were 0 for every one of the "
                f"{_examples(run):,} testing examples: none of these sends a gradient through them.",
                f"more than {DEAD:.0%} of a layer's units",
            )


def _examples(run: RunRecord) -> int:
    return run.examination.examples if run.examination else 0


def _gradients(run: RunRecord) -> Iterator[Finding]:
    paths = _main_paths(run)
    relative = {path: statistics.median(_relative_gradient(epoch, path) for epoch in run.history) for path in paths}
    if len(paths) > 1 and relative[paths[-1]] > 0:
        first, last = relative[paths[0]], relative[paths[-1]]
        if first < last / GRADIENT_RATIO or first > last * GRADIENT_RATIO:
            kind = "vanish" if first < last else "explode"
            times = f"{_fold(max(first / last, last / first))} times " if first else "wholly, or infinitely "
            yield Finding(
                "gradients by layer",
                f"Gradients {kind} on their way back",
                f"Relative to its norm, the gradient of {paths[0]} is {first:.2g} and that of {paths[-1]} {last:.2g} "
                f"(medians over the epochs): {times}{'less' if first < last else 'more'} for the first layer.",
                f"a factor above {GRADIENT_RATIO:g} between the first layer and the last",
            )
    norms = [math.hypot(*(size for _, size in e.data_gradient_norms)) for e in run.history]
    if norms[-1] > GRADIENT_GROWTH * norms[0] > 0:
        yield Finding(
            "gradient growth",
            f"The gradient grew {_fold(norms[-1] / norms[0])}-fold",
            f"Its norm went {_from_to(norms[0], norms[-1])}, from the first epoch's end to the last one's.",
            f"a growth by a factor above {GRADIENT_GROWTH:g}",
        )


def _relative_gradient(epoch: EpochNumbers, path: str) -> float:
    norm = _of(epoch.parameter_norms, path)
    return _of(epoch.data_gradient_norms, path) / norm if norm else math.nan


def _main_paths(run: RunRecord) -> Sequence[str]:
    """For each layer its array of largest norm: the weight matrix, not the bias."""
    best: dict[str, tuple[float, str]] = {}
    for path, norm in run.history[-1].parameter_norms:
        layer = path.rpartition(".")[0]
        if layer not in best or norm > best[layer][0]:
            best[layer] = (norm, path)
    return [path for _, path in best.values()]


def _rate(run: RunRecord) -> Iterator[Finding]:
    rates = f"rates up to {max(e.learning_rate for e in run.history):.3g} at the epochs' ends"
    for path in _main_paths(run):
        ratios = [ratio for e in run.history for name, ratio in e.update_ratios if name == path]
        if not ratios:
            continue
        middle = statistics.median(ratios)
        if middle > RATIO_HIGH:
            yield Finding(
                "learning rate too high",
                f"The learning rate is high for {path}",
                f"A step changes it by {middle:.2%} of its norm (median over the epochs), at {rates}; about 0.1% is "
                "usual.",
                f"a median update-to-weight ratio above {RATIO_HIGH:g}",
            )
        elif middle < RATIO_LOW:
            yield Finding(
                "learning rate too low",
                f"The learning rate is low for {path}",
                f"A step changes it by {middle:.2g} of its norm (median over the epochs), at {rates}; about 0.001 is "
                "usual.",
                f"a median update-to-weight ratio below {RATIO_LOW:g}",
            )


def _never_predicted(run: RunRecord) -> Iterator[Finding]:
    if run.examination is None or run.examination.answers is None:
        return
    confusion, names = run.examination.answers.confusion, class_names(run)
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    never = [k for k, predicted in enumerate(columns) if not predicted and any(confusion[k])]
    if never:
        missed, more = sum(count for k in never for count in confusion[k]), len(never) - 5
        named = ", ".join(names[k] for k in never[:5])
        if more > 0:
            named += f" and {more} other{'s' if more > 1 else ''}"
        yield Finding(
            "class never predicted",
            f"{len(never)} of {len(names)} classes {'are' if len(never) > 1 else 'is'} never predicted",
            f"Not one of {_examples(run):,} testing examples was taken for {named}, though {missed:,} of "
            f"them {'are' if missed > 1 else 'is'}.",
            "a class with testing examples and no prediction",
        )


def _imbalance(run: RunRecord) -> Iterator[Finding]:
    counts = run.data.train_counts if run.data else ()
    if not counts or not max(counts):
        return
    low, high = min(counts), max(counts)
    if high > IMBALANCE * low:
        names = run.data.classes if run.data and len(run.data.classes) == len(counts) else range(len(counts))
        yield Finding(
            "label imbalance",
            "The classes are of unequal size",
            f"{names[counts.index(high)]} has {high:,} training examples ({high / sum(counts):.1%} of all), "
            f"{names[counts.index(low)]} has {low:,}: to always say the first is right so often, and rare classes "
            "count little in the loss. Look at recall class by class.",
            f"a largest class of more than {IMBALANCE:g} times the smallest",
        )


def _test_beats_train(run: RunRecord) -> Iterator[Finding]:
    train, test = run.train[-1], run.test[-1]
    if math.isnan(train.accuracy):
        return
    z = _deviations_apart(test, train)
    if z > CHANCE:
        yield Finding(
            "test better than train",
            "Testing is better than training, beyond chance",
            f"Accuracy is {number(test.accuracy)} on {test.examples:,} testing examples and "
            f"{number(train.accuracy)} on {train.examples:,} training examples, {z:.1f} standard deviations apart: "
            "the testing set is easier, or shares examples with the training set, or the two are not treated alike.",
            f"more than {CHANCE:g} standard deviations",
        )


def _deviations_apart(a: Evaluation, b: Evaluation) -> float:
    return two_proportion_z(a.accuracy, a.examples, b.accuracy, b.examples)


def _epochs(run: RunRecord) -> str:
    return f"{run.epochs} epoch{'s' if run.epochs > 1 else ''}"


RULES = (
    _ended_early,
    _penalty_dominates,
    _penalty_ignored,
    _divergence,
    _over_fitting,
    _under_fitting,
    _plateau,
    _gradients,
    _rate,
    _dead_units,
    _never_predicted,
    _imbalance,
    _test_beats_train,
)
