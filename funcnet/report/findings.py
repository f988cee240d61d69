"""What happened in a run, by rules from its numbers.

A rule first states what a run must have so that it can be judged: so many epochs or examples, or something left to
learn. Then it states what it saw with the numbers it saw it in, and its threshold. The thresholds are the constants
below: conventions, not laws, chosen so that the recipes of this library pass and the textbook's troubles do not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import attrs

from funcnet.examination import Answers
from funcnet.record import DataFacts, RunRecord
from funcnet.report.labels import names_of
from funcnet.report.statistics import two_proportion_z
from funcnet.report.tables import class_names, counted, from_to, interval, loss_label, number
from funcnet.step import Evaluation
from funcnet.text import printable
from funcnet.training import EpochNumbers, Numbers

__all__ = ["RULES", "Finding", "Rule", "findings", "verdict"]

# A set has enough examples for shares and losses to mean something.
ENOUGH = 30
# A data loss that is 0 but for rounding is not above this.
NOTHING = 1e-12
# The total rises and the data loss falls by more than this share, between the first epoch and the last.
MOVED = 0.01
# A penalty must fall if its own gradient is DOMINANT times as long as the data loss's, and moves the weights DOMINANT
# times as far as the noise of the steps. The rule is for a penalty that rises all the same, by more than
# DOMINATED_RISE in each of DOMINATED_EPOCHS epochs.
DOMINANT, DOMINATED_EPOCHS, DOMINATED_RISE = 2.0, 2, 0.001
# Over-fitting: the gap between training and testing accuracy, and the rise of the testing loss from its lowest value.
ACCURACY_GAP, LOSS_RISE = 0.10, 0.05
# Under-fitting: this share of a uniform guess's cross-entropy is left, and this training accuracy is not reached, after
# this many epochs.
UNLEARNT, KNOWN, UNLEARNT_EPOCHS = 0.5, 0.9, 3
# Divergence: the rise of the training loss from its lowest value.
DIVERGED = 0.5
# A rise below this share of the run's highest loss is no trouble, even if it is large relative to the lowest loss.
NEGLIGIBLE = 0.02
# A plateau: the loss changes by less than PLATEAU over the last quarter of the epochs, while the rate is still above
# PLATEAU_RATE of its highest value.
PLATEAU, PLATEAU_RATE, PLATEAU_EPOCHS = 0.01, 0.1, 8
# Dead units: this share of a ReLU layer's units was 0 for every one of this many examples or more. A unit that is
# active for one example in twenty is 0 for all of 100 with a probability of 0.6%.
DEAD, DEAD_EXAMPLES = 0.05, 100
# The relative gradients (norm over the parameters' norm) of the first and the last layer may differ by this factor.
GRADIENT_RATIO = 1000.0
# The gradient's norm may grow by this factor in a run.
GRADIENT_GROWTH = 100.0
# The limits of a step's update-to-weight ratio. 0.001 is usual (Karpathy, CS231n notes, "Neural networks part 3").
RATIO_HIGH, RATIO_LOW = 0.03, 1e-5
# A run has enough steps, and a layer enough parameters, for the ratio to mean something.
RATIO_STEPS, RATIO_PARAMETERS = 10, 10
# A class that is never predicted has this many testing examples. If it has fewer, chance may be the reason.
NEVER = 5
# How many times as many examples the largest class may have as the smallest.
IMBALANCE = 2.0
# This share of the testing examples may be training examples too: it changes an accuracy in the third decimal at most.
COMMON = 0.001
# Testing is better than training by more than this many standard deviations in one run of 700 by chance.
CHANCE = 3.0
# Up to NAMED classes are named one by one. More are given by their numbers, in up to RANGES ranges.
NAMED, RANGES = 30, 60

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
    title: str = attrs.field(converter=printable)
    text: str = attrs.field(converter=printable)
    threshold: str = attrs.field(converter=printable)


@attrs.frozen
class Rule:
    """A rule, and what it needs.

    Attributes:
        look: yields what it finds in a run that has what it needs.
        needs: what must be true of a run so that it can be judged by this rule.
    """

    look: Callable[[RunRecord], Iterator[Finding]]
    needs: tuple[Callable[[RunRecord], bool], ...] = ()

    def applies(self, run: RunRecord) -> bool:
        """Whether the run has what the rule needs."""
        return all(need(run) for need in self.needs)

    def found(self, run: RunRecord) -> tuple[Finding, ...]:
        """What the rule finds; nothing in a run to which it does not apply."""
        return tuple(self.look(run)) if self.applies(run) else ()


def findings(run: RunRecord) -> tuple[Finding, ...]:
    """What the rules find in the run, each with its evidence; nothing for a healthy one.

    A rule for which the run has too little (epochs, examples, classes, something left to learn) finds nothing.

    Raises:
        ValueError: for a run without epochs.
    """
    return tuple(finding for rule in _applying(run) for finding in rule.look(run))


def verdict(run: RunRecord) -> str:
    """The run in a line: how loss and accuracy went, and how many of the rules that apply to it found something.

    Raises:
        ValueError: for a run without epochs.
    """
    found, rules, test = findings(run), len(_applying(run)), run.test[-1]
    said = (
        f"None of the {rules} rules that apply found anything wrong"
        if not found
        else f"{len(found)} finding{'s' if len(found) > 1 else ''} by the {rules} rules that apply"
    )
    first, last = run.train[0], run.train[-1]
    if run.epochs == 1:
        text = f"{said}: after 1 epoch, the {loss_label(run)} is {_said(last.data_loss)} in training and "
    else:
        text = (
            f"{said}: over {counted(run.epochs, 'epoch')}, the {loss_label(run)} went from {_said(first.data_loss)} to "
            f"{_said(last.data_loss)} in training and ended at "
        )
    text += f"{_said(run.validation[-1].data_loss)} in validation and " if run.validation else ""
    text += f"{_said(test.data_loss)} in testing"
    if math.isnan(test.accuracy):
        return f"{text}."
    within = interval(run, test)
    return f"{text}, with an accuracy of {number(test.accuracy)}{f' (95% interval {within})' if within else ''}."


def _applying(run: RunRecord) -> tuple[Rule, ...]:
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to look at")
    return tuple(rule for rule in RULES if rule.applies(run))


# What rules need.


def _epochs_made(count: int) -> Callable[[RunRecord], bool]:
    return lambda run: run.epochs >= count


def _trained_on(count: int) -> Callable[[RunRecord], bool]:
    return lambda run: run.train[-1].examples >= count


def _tested_on(count: int) -> Callable[[RunRecord], bool]:
    return lambda run: run.test[-1].examples >= count


def _judged_on(count: int) -> Callable[[RunRecord], bool]:
    return lambda run: run.judged[1][-1].examples >= count


def _examined_on(count: int) -> Callable[[RunRecord], bool]:
    return lambda run: run.examination is not None and run.examination.examples >= count


def _has_accuracy(run: RunRecord) -> bool:
    return not (math.isnan(run.train[-1].accuracy) or math.isnan(run.test[-1].accuracy))


def _unweighted(run: RunRecord) -> bool:
    return not run.weighted


def _has_penalties(run: RunRecord) -> bool:
    return bool(run.train[0].penalties)


def _has_answers(run: RunRecord) -> bool:
    return _answers(run) is not None


def _finite_losses(run: RunRecord) -> bool:
    """Whether the training losses are finite. ``_not_finite`` looks at the others."""
    values = [v for e in run.train for v in (e.data_loss, *(p.value for p in e.penalties))]
    return all(map(math.isfinite, values))


def _several_classes_tested(run: RunRecord) -> bool:
    """Whether several classes were tested, or none as in a regression.

    Units that are 0 for one class may be active for the others.
    """
    answers = _answers(run)
    return answers is None or sum(any(row) for row in answers.confusion) > 1


def _learning(run: RunRecord) -> bool:
    return bool(_learning_epochs(run))


def _guesses(run: RunRecord) -> bool:
    return _uniform_guess(run) > 0


def _training_left(run: RunRecord) -> bool:
    return not _perfect(run.train[-1])


def _judged_left(run: RunRecord) -> bool:
    return not _perfect(run.judged[1][-1])


def _knows_classes(run: RunRecord) -> bool:
    return run.data is not None and sum(run.data.train_counts) > 0


def _compares_sets(run: RunRecord) -> bool:
    data = run.data
    return data is not None and (data.common_examples is not None or _same_sets(data))


def _has_schedule(run: RunRecord) -> bool:
    return run.schedule_steps is not None and run.history[-1].steps > 0


def _perfect(evaluation: Evaluation) -> bool:
    """Whether nothing is left to learn: all answers are right, or there is no data loss."""
    right = evaluation.accuracy == 1 and math.isfinite(evaluation.data_loss)
    return right or abs(evaluation.data_loss) <= NOTHING


def _learning_epochs(run: RunRecord) -> Sequence[EpochNumbers]:
    """The epochs at whose end something was left to learn. In others, steps and gradients should be small."""
    losses = [abs(e.data_loss) for e in run.train if math.isfinite(e.data_loss)]
    highest = max([*losses, _uniform_guess(run)])
    return [e for e in run.history if not (_perfect(e.train) or abs(e.train.data_loss) <= NEGLIGIBLE * highest)]


def _uniform_guess(run: RunRecord) -> float:
    """The cross-entropy of a uniform guess among the classes that have training examples; 0 for another loss."""
    answers, counts = _answers(run), run.data.train_counts if run.data else ()
    if answers is None or "cross-entropy" not in run.loss_name:
        return 0.0
    return math.log(sum(count > 0 for count in counts) or len(answers.confusion))


def _answers(run: RunRecord) -> Answers | None:
    return run.examination.answers if run.examination else None


# The rules.


def _ended_early(run: RunRecord) -> Iterator[Finding]:
    planned = run.planned_epochs
    if bool(run.ended) if planned is None else run.epochs < planned:
        reason = run.ended.rstrip(".") or "It was stopped, or is still running"
        made = counted(run.epochs, "epoch") if planned is None else f"{run.epochs} of {planned} epochs"
        yield Finding(
            "ended early",
            "The run ended early",
            f"It made {made}. {reason}.",
            "fewer epochs than planned, or a reason to end",
        )


def _penalty_dominates(run: RunRecord) -> Iterator[Finding]:
    first, last = run.train[0], run.train[-1]
    total_rose = last.loss - first.loss > max(MOVED * abs(first.loss), NOTHING)
    data_fell = first.data_loss - last.data_loss > MOVED * abs(first.data_loss)
    if not (total_rose and data_fell):
        return
    rises = [(b.value - a.value, a, b) for a, b in zip(first.penalties, last.penalties, strict=True)]
    rise, before, after = max(rises, key=lambda row: row[0])
    share = last.penalty / last.loss if last.loss > 0 else math.nan
    part = f"{share:.1%} of the total" if share <= 1 else f"{number(last.penalty)} of a total of {number(last.loss)}"
    yield Finding(
        "penalty dominates",
        f"The total loss rose because a penalty did, while the {loss_label(run)} fell",
        f"The total rose {from_to(first.loss, last.loss)} while the {loss_label(run)} fell "
        f"{from_to(first.data_loss, last.data_loss)}. The {after.name} penalty of {after.path} rose most, by "
        f"{number(rise)} ({from_to(before.value, after.value)}). At the end the penalties are {part}: judge the "
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
                f"total loss lowers it: {from_to(a, b)} in epoch {epoch}, where that gradient's norm "
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
    return own > DOMINANT * data and DOMINANT * step * step / 2 < pull < 1


def _of(numbers: Numbers, path: str) -> float:
    return dict(numbers).get(path, math.nan)  # every comparison with NaN is false


def _over_fitting(run: RunRecord) -> Iterator[Finding]:
    part, judged = run.judged
    gaps = [a.accuracy - b.accuracy for a, b in zip(run.train, judged, strict=True)]
    losses = [e.data_loss for e in judged]
    best = _lowest(losses)
    lowest, last = losses[best], losses[-1]
    rose = _rose(losses, LOSS_RISE) and run.train[-1].data_loss < run.train[best].data_loss
    seen = []
    if gaps[-1] > ACCURACY_GAP and _deviations_apart(run.train[-1], judged[-1]) > CHANCE:
        since = max(e for e in range(run.epochs) if e == 0 or not gaps[e - 1] > ACCURACY_GAP)
        seen.append(
            f"Training accuracy is {number(run.train[-1].accuracy)}, {part} accuracy {number(judged[-1].accuracy)}: "
            f"a gap of {number(gaps[-1])}, above {ACCURACY_GAP:g} since epoch {since + 1}."
        )
    if rose:
        seen.append(
            f"The {loss_label(run)} in {part} rose {from_to(lowest, last)} since epoch {best + 1}, when it was "
            f"lowest, while that in training fell {from_to(run.train[best].data_loss, run.train[-1].data_loss)}."
        )
    if seen:
        yield Finding(
            "over-fitting",
            "The network over-fits the training set",
            " ".join(seen),
            f"an accuracy gap above {ACCURACY_GAP:g} and {CHANCE:g} standard deviations, or a {part} "
            f"{loss_label(run)} that rises from its lowest value by more than {LOSS_RISE:.0%} of that value and "
            f"{NEGLIGIBLE:.0%} of its highest, while the one in training falls",
        )


def _under_fitting(run: RunRecord) -> Iterator[Finding]:
    train, (part, judged), guess = run.train[-1], run.judged, _uniform_guess(run)
    if any(rule.found(run) for rule in RULES if rule.look in (_divergence, _over_fitting)):
        return  # the network has learnt, and then lost it or over-fitted
    # With smoothed labels, a part of the cross-entropy stays even if every answer is right: hence KNOWN.
    little = train.data_loss > UNLEARNT * guess and train.accuracy < KNOWN
    if little and train.accuracy - judged[-1].accuracy < ACCURACY_GAP:
        yield Finding(
            "under-fitting",
            "The network under-fits: it has learnt little even of the training set",
            f"The {loss_label(run)} in training ended at {number(train.data_loss)}, where a uniform guess has "
            f"{number(guess)}; accuracy is {number(train.accuracy)} in training and "
            f"{number(judged[-1].accuracy)} in {part}.",
            f"more than {UNLEARNT:.0%} of a uniform guess's cross-entropy after {UNLEARNT_EPOCHS} epochs or more, an "
            f"accuracy gap below {ACCURACY_GAP:g}, and an accuracy in training below {KNOWN:g}",
        )


def _divergence(run: RunRecord) -> Iterator[Finding]:
    losses = [e.data_loss for e in run.train]
    if _rose(losses, DIVERGED) or not all(map(math.isfinite, losses)):
        best = _lowest(losses)
        yield Finding(
            "divergence",
            "Training diverged",
            f"The {loss_label(run)} in training was lowest in epoch {best + 1}, {_said(losses[best])}, and ended at "
            f"{_said(losses[-1])} ({_said(run.test[-1].data_loss)} in testing), at a learning rate of "
            f"{run.history[-1].learning_rate:.3g}.",
            f"a training {loss_label(run)} that is not finite, or that rises from its lowest value by more than "
            f"{DIVERGED:.0%} of that value and {NEGLIGIBLE:.0%} of its highest",
        )


def _not_finite(run: RunRecord) -> Iterator[Finding]:
    """Penalties and losses that are not finite. ``_divergence`` looks at the training loss."""
    for epoch in run.history:
        parts = [(f"the {p.name} penalty of {p.path}", p.value) for p in epoch.train.penalties]
        parts += [(f"the {loss_label(run)} in {name}", side.data_loss) for name, side in epoch.parts[1:]]
        for name, value in parts:
            if not math.isfinite(value):
                yield Finding(
                    "not finite",
                    "A loss is not finite",
                    f"In epoch {epoch.epoch}, {name} is {_said(value)}, though the {loss_label(run)} in training is "
                    f"{number(epoch.train.data_loss)}.",
                    f"a penalty or a loss in {' or '.join(name for name, _ in run.parts[1:])} that is infinite or NaN",
                )
                return


def _no_answer(run: RunRecord) -> Iterator[Finding]:
    examples, answers = _examples(run), _answers(run)
    if answers is not None and (missing := sum(answers.unanswered)):
        names = class_names(run)
        of = [k for k, count in enumerate(answers.unanswered) if count]
        yield Finding(
            "no answer",
            "The network gives no answer to some examples",
            f"For {missing:,} of {examples:,} testing examples an output is NaN. They belong to "
            f"{_named(of, names, answers.unanswered)}, and are in no column of the confusion matrix.",
            "an output that is not a number",
        )
    for layer in run.examination.activity if run.examination else ():
        if layer.not_finite:
            yield Finding(
                "units not finite",
                f"Outputs of {layer.path} {layer.name} are not finite",
                f"{layer.not_finite:,} of {layer.units:,} units were NaN or infinite for at least one of the "
                f"{examples:,} testing examples.",
                "a unit whose output is not a finite number",
            )


def _lowest(losses: Sequence[float]) -> int:
    """The place of the lowest loss. NaN counts as infinite."""
    return min(range(len(losses)), key=lambda place: math.inf if math.isnan(losses[place]) else losses[place])


def _rose(losses: Sequence[float], share: float) -> bool:
    """Whether the last loss is above the lowest by more than a share of the lowest, and not negligibly."""
    known = [loss for loss in losses if not math.isnan(loss)]
    if not known or math.isinf(losses[-1]):
        return False
    lowest = min(known)
    rise = losses[-1] - lowest
    return rise > share * abs(lowest) and rise > NEGLIGIBLE * max(abs(loss) for loss in known)


def _said(value: float) -> str:
    return "NaN" if math.isnan(value) else number(value)


def _fold(factor: float) -> str:
    return f"{factor:,.0f}" if factor < 1e6 else f"{factor:.2e}"


def _plateau(run: RunRecord) -> Iterator[Finding]:
    quarter = run.epochs // 4
    before, last = run.train[-1 - quarter], run.train[-1]
    losses = [e.data_loss for e in run.train[-1 - quarter :]]
    change = (max(losses) - min(losses)) / max(map(abs, losses)) if any(losses) else 0.0
    rates = [e.learning_rate for e in run.history]
    rate = statistics.mean(rates[-quarter:]) / max(rates) if any(rates) else 0.0
    # Rates are those of the epochs' ends. Where they were higher in between, the steps tell.
    steps = [ratio for e in run.history[-quarter:] for _, ratio in e.update_ratios]
    at_rest = bool(steps) and max(steps) < RATIO_LOW
    if change < PLATEAU and rate > PLATEAU_RATE and not at_rest:
        yield Finding(
            "plateau",
            "Training stands still",
            f"Over the last {quarter} epochs the {loss_label(run)} in training went "
            f"{from_to(before.data_loss, last.data_loss)}, never more than {change:.2%} apart, though the "
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
                f"{_examples(run):,} testing examples. No gradient passes through a unit that is 0.",
                f"more than {DEAD:.0%} of a layer's units, in {DEAD_EXAMPLES} examples or more",
            )


def _examples(run: RunRecord) -> int:
    return run.examination.examples if run.examination else 0


def _gradients_by_layer(run: RunRecord) -> Iterator[Finding]:
    paths = _main_paths(run)
    medians = [_median(_relative_gradient(epoch, path) for epoch in _learning_epochs(run)) for path in paths]
    if len(paths) < 2 or not medians[-1] > 0:
        return
    first, last = medians[0], medians[-1]
    if first < last / GRADIENT_RATIO or first > last * GRADIENT_RATIO:
        kind = "vanish" if first < last else "explode"
        times = (
            f": {_fold(max(first / last, last / first))} times {'less' if first < last else 'more'}" if first else ""
        )
        yield Finding(
            "gradients by layer",
            f"Gradients {kind} towards the first layer",
            f"Relative to its norm, the gradient of {paths[0]} is {first:.2g} and that of {paths[-1]} {last:.2g} "
            f"(medians over the epochs){times}.",
            f"a factor above {GRADIENT_RATIO:g} between the first layer and the last",
        )


def _gradient_growth(run: RunRecord) -> Iterator[Finding]:
    norms = [math.hypot(*(size for _, size in e.data_gradient_norms)) for e in _learning_epochs(run)]
    if math.isfinite(norms[-1]) and norms[-1] > GRADIENT_GROWTH * norms[0] > 0:
        first, last = _learning_epochs(run)[0].epoch, _learning_epochs(run)[-1].epoch
        yield Finding(
            "gradient growth",
            f"The gradient grew {_fold(norms[-1] / norms[0])}-fold",
            f"Its norm went {from_to(norms[0], norms[-1])}, from the end of epoch {first} to the end of epoch {last}.",
            f"a growth by a factor above {GRADIENT_GROWTH:g}",
        )


def _median(values: Iterator[float]) -> float:
    """The median of the finite values; NaN if there are none."""
    known = [value for value in values if math.isfinite(value)]
    return statistics.median(known) if known else math.nan


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
    epochs = _learning_epochs(run)
    highest = max((epoch.learning_rate for epoch in epochs if epoch.learning_rate >= 0), default=0.0)
    rates = f"rates up to {highest:.3g} at the epochs' ends"
    sizes = {layer.path: layer.parameters for layer in run.layers}
    for path in _main_paths(run):
        if sizes.get(path.rpartition(".")[0], RATIO_PARAMETERS) < RATIO_PARAMETERS:
            continue
        middle = _median(_of(e.update_ratios, path) for e in epochs)
        if middle > RATIO_HIGH:
            yield Finding(
                "learning rate too high",
                f"The learning rate is high for {path}",
                f"A step changes it by {middle:,.2%} of its norm (median over the epochs), at {rates}. About 0.1% is "
                "usual.",
                f"a median update-to-weight ratio above {RATIO_HIGH:g}",
            )
        # A ratio of 0 at a positive rate is no fault of the rate: most steps have no gradient.
        elif 0 < middle < RATIO_LOW or middle == highest == 0:
            yield Finding(
                "learning rate too low",
                f"The learning rate is low for {path}",
                f"A step changes it by {middle:.2g} of its norm (median over the epochs), at {rates}. About 0.001 is "
                "usual.",
                f"a median update-to-weight ratio below {RATIO_LOW:g}",
            )


def _enough_steps(run: RunRecord) -> bool:
    steps = run.history[-1].steps
    return not steps or steps >= RATIO_STEPS  # 0: it is not known


def _schedule_over(run: RunRecord) -> Iterator[Finding]:
    end, steps = run.schedule_steps, run.history[-1].steps
    if end is not None and steps > end:
        after = [epoch.learning_rate for epoch in run.history if epoch.steps > end]
        rates = " to ".join(dict.fromkeys(f"{rate:.3g}" for rate in (min(after), max(after))))
        yield Finding(
            "schedule over",
            "Training went on after the end of the learning rate's schedule",
            f"The schedule ends after {end:,} steps, and the run made {steps:,}. In the last "
            f"{counted(len(after), 'epoch')} the rate was {rates} at the epochs' ends. "
            "Make the schedule as long as the run.",
            "more steps than the schedule has",
        )


def _common_examples(run: RunRecord) -> Iterator[Finding]:
    data = run.data
    if data is None:
        return
    count = data.test_examples if _same_sets(data) else data.common_examples or 0
    share = count / data.test_examples if data.test_examples else 0.0
    if share > COMMON:
        yield Finding(
            "common examples",
            "The testing set is the training set" if _same_sets(data) else "The testing set overlaps the training set",
            f"{count:,} of {data.test_examples:,} testing examples ({share:.1%}) are training examples too. On these, "
            "loss and accuracy in testing do not tell how the network does on examples that it was not trained on.",
            f"more than {COMMON:.1%} of the testing examples",
        )


def _same_sets(data: DataFacts) -> bool:
    return bool(data.train_sha256) and data.train_sha256 == data.test_sha256


def _class_names(run: RunRecord) -> Iterator[Finding]:
    answers, names = _answers(run), run.data.classes if run.data else ()
    if answers is not None and names and len(names) != len(answers.confusion):
        yield Finding(
            "class names",
            "The class names do not fit the network's outputs",
            f"The data set names {counted(len(names), 'class', 'classes')}, and the network has "
            f"{counted(len(answers.confusion), 'output')}. Classes are shown by their numbers, from 0. "
            "Give the data set one name for each output.",
            "another number of names than of outputs",
        )


def _absent(run: RunRecord) -> Sequence[int]:
    """The classes without training examples, among those that have a name, an output or an example."""
    data, answers = run.data, _answers(run)
    if data is None or not _knows_classes(run):
        return []
    known = len(answers.confusion) if answers else 0
    classes = max(known, len(data.train_counts), len(data.test_counts))
    return [k for k in range(classes) if k >= len(data.train_counts) or not data.train_counts[k]]


def _untrained_class(run: RunRecord) -> Iterator[Finding]:
    absent, data = _absent(run), run.data
    if data is not None and absent:
        classes = max(absent[-1] + 1, len(data.train_counts), len(class_names(run)) if _has_answers(run) else 0)
        tested = sum(data.test_counts[k] for k in absent if k < len(data.test_counts))
        some = len(absent) > 1
        yield Finding(
            "class without training examples",
            f"{len(absent):,} of {classes:,} classes {'have' if some else 'has'} no training examples",
            f"There is no training example of {_named(absent, names_of(run, classes), word='or')}. The network cannot "
            f"learn {'these classes' if some else 'this class'}."
            + (f" {tested:,} of the {sum(data.test_counts):,} testing examples belong there." if tested else ""),
            "a class without training examples",
        )


def _never_predicted(run: RunRecord) -> Iterator[Finding]:
    answers = _answers(run)
    if answers is None:
        return
    confusion, names, untrained = answers.confusion, class_names(run), set(_absent(run))
    predicted, there = [sum(column) for column in zip(*confusion, strict=True)], [sum(row) for row in confusion]
    never = [k for k in range(len(names)) if not predicted[k] and there[k] >= NEVER and k not in untrained]
    if never:
        missed, some = sum(there[k] for k in never), len(never) > 1
        yield Finding(
            "class never predicted",
            f"{len(never):,} of {len(names):,} classes {'are' if some else 'is'} never predicted",
            f"No testing example was predicted as {_named(never, names, word='or')}, though {missed:,} of the "
            f"{_examples(run):,} belong to {'these classes' if some else 'this class'}.",
            f"a class with training examples, {NEVER} testing examples or more, and no prediction",
        )


def _named(
    classes: Sequence[int], names: Sequence[str], counts: Sequence[int] | None = None, *, word: str = "and"
) -> str:
    """All of the classes by their names, with a count each; of many, all by ranges of their numbers."""
    if len(classes) <= NAMED:
        *first, last = [f"{names[k]} ({counts[k]:,})" if counts else names[k] for k in classes]
        return f"{', '.join(first)} {word} {last}" if first else last
    ranges: list[list[int]] = []
    for k in classes:
        if ranges and ranges[-1][-1] == k - 1:
            ranges[-1][1:] = [k]
        else:
            ranges.append([k])
    more = sum(span[-1] - span[0] + 1 for span in ranges[RANGES:])
    others = f" and {more:,} more, which the table of classes has" if more else ""
    return f"the classes of numbers {', '.join('-'.join(map(str, span)) for span in ranges[:RANGES])}{others}"


def _imbalance(run: RunRecord) -> Iterator[Finding]:
    counts = run.data.train_counts if run.data else ()
    there = [count for count in counts if count]  # _untrained_class looks at classes without any
    low, high = min(there), max(there)
    if high > IMBALANCE * low and high - low > CHANCE * math.sqrt(high + low):
        names = names_of(run, len(counts))
        largest, smallest = names[counts.index(high)], names[counts.index(low)]
        yield Finding(
            "label imbalance",
            "The classes are of unequal size",
            f"{largest} has {high:,} training examples ({high / sum(counts):.1%} of all), {smallest} has {low:,}. "
            "Rare classes count little in the loss and in the accuracy: look at the recall of each class.",
            f"a largest class of more than {IMBALANCE:g} times the smallest, by more than {CHANCE:g} standard "
            "deviations of the difference",
        )


def _test_beats_train(run: RunRecord) -> Iterator[Finding]:
    train, test = run.train[-1], run.test[-1]
    z = _deviations_apart(test, train)
    if z > CHANCE:
        yield Finding(
            "test better than train",
            "Testing is better than training, beyond chance",
            f"Accuracy is {number(test.accuracy)} on {test.examples:,} testing examples and "
            f"{number(train.accuracy)} on {train.examples:,} training examples, {z:.1f} standard deviations apart. "
            "The testing set is easier, or it shares examples with the training set, or the two sets are prepared "
            "differently.",
            f"more than {CHANCE:g} standard deviations",
        )


def _deviations_apart(a: Evaluation, b: Evaluation) -> float:
    return two_proportion_z(a.accuracy, a.examples, b.accuracy, b.examples)


RULES = (
    Rule(_ended_early),
    Rule(_no_answer),
    Rule(_common_examples, (_compares_sets,)),
    Rule(_class_names, (_has_answers,)),
    Rule(_schedule_over, (_has_schedule,)),
    Rule(_penalty_dominates, (_has_penalties, _epochs_made(2), _finite_losses)),
    Rule(_penalty_ignored, (_has_penalties, _epochs_made(DOMINATED_EPOCHS + 1), _finite_losses)),
    Rule(_divergence, (_training_left,)),
    Rule(_not_finite),
    Rule(_over_fitting, (_trained_on(ENOUGH), _judged_on(ENOUGH), _judged_left)),
    Rule(_under_fitting, (_guesses, _epochs_made(UNLEARNT_EPOCHS), _trained_on(ENOUGH), _training_left)),
    Rule(_plateau, (_epochs_made(PLATEAU_EPOCHS), _finite_losses, _training_left)),
    Rule(_gradients_by_layer, (_learning,)),
    Rule(_gradient_growth, (_epochs_made(2), _learning)),
    Rule(_rate, (_learning, _enough_steps)),
    Rule(_dead_units, (_examined_on(DEAD_EXAMPLES), _several_classes_tested)),
    Rule(_untrained_class, (_knows_classes,)),
    Rule(_never_predicted, (_has_answers,)),
    Rule(_imbalance, (_knows_classes,)),
    Rule(_test_beats_train, (_has_accuracy, _unweighted, _trained_on(ENOUGH), _tested_on(ENOUGH))),
)
