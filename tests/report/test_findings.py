"""Every rule with histories made up just below and just above its threshold."""

import math
import re
from collections.abc import Callable, Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import PATHS, epoch_numbers, evaluation, healthy_run, run_record, whole_run

from funcnet.examination import Answers, LayerFacts, UnitActivity
from funcnet.record import RunRecord
from funcnet.report.findings import RULES, Finding, findings, verdict
from funcnet.report.statistics import two_proportion_z
from funcnet.step import Evaluation
from funcnet.training import EpochNumbers

ABOVE, BELOW = 1 + 1e-6, 1 - 1e-6


def rules(run: RunRecord) -> list[str]:
    return [finding.rule for finding in findings(run)]


def applying(run: RunRecord) -> int:
    return sum(rule.applies(run) for rule in RULES)


def found(run: RunRecord, rule: str) -> Finding:
    (finding,) = (f for f in findings(run) if f.rule == rule)
    return finding


def history(train: Sequence[Evaluation], test: Sequence[Evaluation] | None = None) -> RunRecord:
    """A healthy run but for its evaluations."""
    epochs = tuple(epoch_numbers(e, a, b) for e, (a, b) in enumerate(zip(train, test or train, strict=True), 1))
    return attrs.evolve(healthy_run(len(epochs)), history=epochs, planned_epochs=len(epochs))


def losses(train: Sequence[float], test: Sequence[float] | None = None) -> RunRecord:
    return history([evaluation(v) for v in train], [evaluation(v) for v in test or train])


def each_epoch(run: RunRecord, change: Callable[[EpochNumbers], dict[str, object]]) -> RunRecord:
    return attrs.evolve(run, history=tuple(attrs.evolve(e, **change(e)) for e in run.history))


def test_a_healthy_run_says_so_in_one_line() -> None:
    run = healthy_run()
    assert findings(run) == ()
    assert verdict(run) == (
        f"None of the {applying(run)} rules that apply found anything wrong: over 8 epochs, the cross-entropy went "
        "from 1.200 to 0.252 in training and ended at 0.352 in testing, with an accuracy of 0.820 (95% interval 0.784 "
        "to 0.851)."
    )


def test_the_verdict_counts_what_was_found() -> None:
    one = attrs.evolve(healthy_run(), ended="Stopped by Ctrl-C", planned_epochs=9)
    assert verdict(one).startswith(f"1 finding by the {applying(one)} rules that apply: over 8 epochs")
    two = attrs.evolve(one, data=attrs.evolve(one.data, train_counts=(1, 2, 97)))
    assert verdict(two).startswith(f"2 findings by the {applying(two)} rules that apply")


def test_rules_that_have_too_little_are_not_counted() -> None:
    """The first does not tell of a schedule or of common examples, and its examination is of 20 examples."""
    run = healthy_run()
    assert applying(run) == len(RULES) - 3
    short = history([evaluation(1.2, 0.0, 1)])
    assert applying(short) < applying(run) - 5
    assert verdict(short).startswith(f"None of the {applying(short)} rules that apply found anything wrong: after 1 ep")


def test_a_run_without_accuracy_is_judged_by_its_loss() -> None:
    blank = [evaluation(0.9**e, math.nan) for e in range(8)]
    run = attrs.evolve(history(blank), examination=None, loss_name="mean squared error")
    assert findings(run) == ()
    assert verdict(run).endswith(
        "the mean squared error went from 1.000 to 0.478 in training and ended at 0.478 in testing."
    )


def test_every_finding_has_its_numbers_and_its_threshold() -> None:
    """All rules at once, on a run in which everything is wrong."""
    seen: dict[str, Finding] = {}
    for run in everything_wrong():
        seen |= {f.rule: f for f in findings(run)}
    assert len(seen) >= len(RULES)
    for finding in seen.values():
        assert finding.title[0].isupper() or finding.title[0].isdigit()
        assert re.search(r"\d", finding.text)
        assert not re.search(r"\bnan\b", finding.text), finding.text
        assert finding.threshold


def test_a_run_without_epochs() -> None:
    for look in (findings, verdict):
        with pytest.raises(ValueError, match="the run on glyphs has no epochs to look at"):
            look(RunRecord("glyphs", seed=0))


def test_ended_early() -> None:
    run = healthy_run()
    assert rules(attrs.evolve(run, planned_epochs=8)) == rules(attrs.evolve(run, planned_epochs=None)) == []
    killed = found(attrs.evolve(run, planned_epochs=9), "ended early")
    assert killed.text == "It made 8 of 9 epochs. It was stopped, or is still running."
    stopped = found(attrs.evolve(run, planned_epochs=20, ended="Stopped by Ctrl-C"), "ended early")
    assert stopped.text == "It made 8 of 20 epochs. Stopped by Ctrl-C."
    unplanned = attrs.evolve(history([evaluation(1.0)]), planned_epochs=None, ended="Stopped by hand.")
    assert found(unplanned, "ended early").text == "It made 1 epoch. Stopped by hand."
    assert rules(attrs.evolve(run, planned_epochs=8, ended="Stopped by Ctrl-C")) == []  # after the last of its epochs


def rising(total: float, data: float) -> RunRecord:
    """A total that changes by one factor while the data loss changes by another; the first penalty makes up for it."""
    first = evaluation(1.0, penalties=(98.0, 1.0))
    last = evaluation(data, penalties=(100 * total - data - 1.0, 1.0))
    return history([first, last])


@pytest.mark.parametrize(
    ("total", "data", "expected"),
    [
        (1 + 0.01 * ABOVE, 0.9, True),
        (1 + 0.01 * BELOW, 0.9, False),
        (1.1, 1 - 0.01 * ABOVE, True),
        (1.1, 0.9901, False),
    ],
)
def test_penalty_dominates(total: float, data: float, expected: bool) -> None:
    assert ("penalty dominates" in rules(rising(total, data))) == expected


def test_the_penalty_that_dominates_is_named() -> None:
    """The lab's own case."""
    first = evaluation(0.8, 0.8, penalties=(1.0, 504.0))
    last = evaluation(0.3, 0.9, penalties=(2.0, 1783.0))
    finding = found(history([first, last]), "penalty dominates")
    assert finding.text == (
        "The total rose from 505.800 to 1785.300 while the cross-entropy fell from 0.800 to 0.300. The l2 penalty of "
        "[3].weight rose most, by 1279.000 (from 504.000 to 1783.000). At the end the penalties are 100.0% of the "
        "total: judge the network by cross-entropy and accuracy."
    )


def ignored(
    rises: int, own: float, *, by: float = 0.002, name: str = "l2", rate: float = 0.1, noise: float = 0.001
) -> RunRecord:
    """A penalty that rises ``rises`` times in 8 epochs, its gradient ``own`` times as long as the data loss's."""
    value, epochs, norm = 40.0, [], 10.0
    for e in range(8):
        value *= 1 + by if 1 <= e <= rises else 0.99
        train = evaluation(0.9**e, penalties=(value,))
        train = attrs.evolve(train, penalties=(attrs.evolve(train.penalties[0], name=name),))
        size = 2 * value / norm / own  # the norm of an l2 penalty's gradient is at least 2 P / |w|
        epochs.append(
            attrs.evolve(
                epoch_numbers(e + 1, train, train),
                parameter_norms=(("[1].weight", norm),),
                data_gradient_norms=(("[1].weight", size),),
                gradient_norms=(("[1].weight", size),),
                update_ratios=(("[1].weight", noise),),
                learning_rate=rate,
            )
        )
    return attrs.evolve(healthy_run(), history=tuple(epochs))


def test_arrays_of_zeros_are_nothing_to_judge() -> None:
    """As weights are that started from zero and got no gradient."""
    zero = tuple((path, 0.0) for path in PATHS)
    run = each_epoch(healthy_run(), lambda e: {"parameter_norms": zero, "data_gradient_norms": zero})
    assert findings(run) == ()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (ignored(2, 2 * ABOVE), True),
        (ignored(2, 2 * BELOW), False),
        (ignored(1, 3.0), False),
        (ignored(2, 3.0, by=0.0011), True),
        (ignored(2, 3.0, by=0.0009), False),
        (ignored(2, 3.0, name="l1"), False),  # whose gradient is P / |w|, half of l2's
        (ignored(2, 4 * ABOVE, name="l1"), True),
        (ignored(2, 3.0, name="of my own"), False),  # of no known degree: nothing can be said
        (ignored(2, 3.0, rate=1.2), True),
        (ignored(2, 3.0, rate=1.3), False),  # a step across the valley may raise the penalty
        (ignored(2, 3.0, noise=0.27), True),  # 0.27^2 / 2 is less than half of rate |grad P| / |w| = 0.08
        (ignored(2, 3.0, noise=0.3), False),  # noise alone may raise the penalty
    ],
)
def test_penalty_ignored(run: RunRecord, expected: bool) -> None:
    assert ("penalty ignored" in rules(run)) == expected


def test_the_penalty_ignored_is_named_with_both_gradients() -> None:
    finding = found(ignored(3, 4.0), "penalty ignored")
    assert finding.title == "The l2 penalty of [1].weight does not respond to its own gradient"
    assert "It rose in 3 epochs" in finding.text
    assert "from 39.759 to 39.838 in epoch 4" in finding.text
    assert "at least 7.968 against 1.992" in finding.text


def gap(size: float, examples: int = 10_000) -> RunRecord:
    train = [evaluation(0.9**e, 0.9, 10_000) for e in range(8)]
    test = [evaluation(0.9**e + 0.1, 0.9 - (size if e >= 5 else 0.0), examples) for e in range(8)]
    return history(train, test)


def test_over_fitting_by_accuracy() -> None:
    assert rules(gap(0.1 * BELOW)) == []
    finding = found(gap(0.101), "over-fitting")
    assert finding.text == (
        "Training accuracy is 0.900, testing accuracy 0.799: a gap of 0.101, above 0.1 since epoch 6."
    )


def test_a_gap_that_chance_explains_is_none() -> None:
    """Of 20 testing examples three fewer are right."""
    assert rules(gap(0.15, examples=20)) == []
    assert rules(gap(0.15, examples=200)) == ["over-fitting"]


def test_a_loss_that_is_next_to_nothing_may_rise() -> None:
    """From 0.0001 to 0.0002, after 0.5: neither divergence nor over-fitting."""
    assert rules(losses([0.5, 0.01, 1e-4, 1.6e-4])) == []
    assert rules(losses([0.5, 0.01, 1e-4, 5e-5], [0.5, 0.01, 1e-3, 1.1e-3])) == []


def test_losses_below_zero_may_fall() -> None:
    """As those of densities do."""
    run = attrs.evolve(losses([5.0, 2.0, 1.0, -1.0, -2.0, -4.0, -7.0, -10.0]), examination=None)
    assert rules(run) == []
    assert rules(attrs.evolve(losses([-1.0, -1.005, -1.5, -1.01]), examination=None)) == []
    assert rules(attrs.evolve(losses([-1.0, -10.0, -4.0]), examination=None)) == ["divergence"]


def test_the_epoch_since_when_the_gap_is_there_is_that_of_its_last_stretch() -> None:
    run = gap(0.2)
    changed = list(run.history)
    changed[6] = attrs.evolve(changed[6], test=attrs.evolve(changed[6].test, accuracy=0.9))
    assert "since epoch 8" in found(attrs.evolve(run, history=tuple(changed)), "over-fitting").text
    always = history([evaluation(0.9**e, 0.9) for e in range(3)], [evaluation(0.9**e, 0.5) for e in range(3)])
    assert "since epoch 1." in found(always, "over-fitting").text


@pytest.mark.parametrize(
    ("last", "train", "expected"), [(1.05 * ABOVE, 0.1, True), (1.05 * BELOW, 0.1, False), (1.4, 0.6, False)]
)
def test_over_fitting_by_loss(last: float, train: float, expected: bool) -> None:
    """The testing loss rises from its lowest; that is over-fitting only where the training loss goes on falling."""
    run = losses([1.0, 0.5, train], [1.2, 1.0, last])
    assert ("over-fitting" in rules(run)) == expected
    if expected:
        assert (
            "in testing rose from 1.000 to 1.050 since epoch 2, when it was lowest" in found(run, "over-fitting").text
        )


@pytest.mark.parametrize(
    ("share", "behind", "expected"), [(0.5 * ABOVE, 0.0, True), (0.5 * BELOW, 0.0, False), (0.8, 0.1 * ABOVE, False)]
)
def test_under_fitting(share: float, behind: float, expected: bool) -> None:
    end = share * math.log(3)
    train = [evaluation(end * (2 - e / 2), 0.5) for e in range(3)]
    run = history(train, [attrs.evolve(e, accuracy=0.5 - behind) for e in train])
    assert ("under-fitting" in rules(run)) == expected
    if expected:
        assert "ended at 0.549, where a uniform guess has 1.099" in found(run, "under-fitting").text


def test_smoothed_labels_that_are_known_are_no_under_fitting() -> None:
    """Of which a part of the cross-entropy stays."""
    for accuracy, expected in ((0.89, True), (0.9, False)):
        end = [evaluation(0.6 * math.log(3), accuracy) for _ in range(3)]
        assert ("under-fitting" in rules(history(end, end))) == expected


def test_what_was_learnt_and_lost_or_is_known_of_the_training_set_alone_is_no_under_fitting() -> None:
    assert rules(losses([2.0, 0.5, 3.0])) == ["divergence"]
    assert rules(losses([1.3, 1.25, 1.2], [1.3, 1.2, 1.45])) == ["over-fitting"]


def test_the_uniform_guess_is_one_of_the_cross_entropy_alone() -> None:
    run = losses([1.3, 1.25, 1.2])
    assert rules(run) == ["under-fitting"]
    assert rules(attrs.evolve(run, loss_name="hinge")) == []
    assert rules(attrs.evolve(answered([[20]]), loss_name="hinge")) == []
    # A class without training examples is none to guess: of one class there is nothing to learn.
    assert rules(attrs.evolve(run, data=attrs.evolve(run.data, train_counts=(100, 0, 0)))) == [
        "class without training examples"
    ]


@pytest.mark.parametrize(("end", "expected"), [(1.5 * ABOVE, True), (1.5 * BELOW, False)])
def test_divergence(end: float, expected: bool) -> None:
    run = attrs.evolve(losses([2.0, 1.0, end], [1.6] * 3), examination=None)
    assert ("divergence" in rules(run)) == expected
    if expected:
        text = found(run, "divergence").text
        assert "was lowest in epoch 2, 1.000, and ended at 1.500 (1.600 in testing), at a learning rate of 0.1" in text


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_no_number_is_divergence(value: float) -> None:
    run = losses([2.0, 1.0, value], [1.6, 1.5, value])
    assert found(run, "divergence").title == "Training diverged"
    assert f"({'NaN' if math.isnan(value) else 'inf'} in testing)" in found(run, "divergence").text
    assert "lowest in epoch 2, 1.000" in found(losses([math.nan, 1.0, value], [1.6] * 3), "divergence").text


@pytest.mark.parametrize(("value", "said"), [(math.inf, "inf"), (math.nan, "NaN")])
def test_where_training_goes_well_another_loss_that_is_no_number_is_named(value: float, said: str) -> None:
    testing = found(losses([2.0, 1.0, 0.5, 0.4], [1.6, 1.5, value, 1.2]), "not finite")
    assert (testing.title, testing.text) == (
        "A loss is not finite",
        f"In epoch 3, the cross-entropy in testing is {said}, though the cross-entropy in training is 0.500.",
    )
    fine, bad = (evaluation(0.5, penalties=(0.1, p)) for p in (0.2, value))
    run = history([fine, bad, bad])
    assert "In epoch 2, the l2 penalty of [3].weight is" in found(run, "not finite").text
    assert not any("nan" in f"{finding.title}{finding.text}" for finding in findings(run))


def still(change: float, rate: float = 0.1, accuracy: float = 0.5, epochs: int = 8) -> RunRecord:
    """Training that moves by ``change`` in its last quarter, at a share ``rate`` of its first learning rate."""
    values = [2.0 - e / 8 for e in range(epochs - epochs // 4)] + [0.4] * (epochs // 4)
    values[-1 - epochs // 4] = 0.4
    values[-1] *= 1 - change
    run = history([evaluation(v, accuracy) for v in values])
    last = epochs - epochs // 4
    return each_epoch(run, lambda e: {"learning_rate": rate if e.epoch > last else 1.0})


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (still(0.00999, rate=0.11), True),
        (still(0.00999, rate=0.11, epochs=12), True),
        (still(0.01001, rate=0.11), False),
        (still(-0.00999, rate=0.11), True),
        (still(-0.0102, rate=0.11), False),
        (still(0.001, rate=0.1 * BELOW), False),  # the rate has come down: it is meant to stand still
        (still(0.001, rate=1.0, accuracy=1.0), False),  # nothing is left to learn
        (still(0.001, rate=1.0, epochs=7), False),
    ],
)
def test_plateau(run: RunRecord, expected: bool) -> None:
    assert ("plateau" in rules(run)) == expected


def test_steps_that_move_nothing_excuse_a_plateau() -> None:
    """A rate that an epoch's end does not show has run out."""
    tiny = tuple((path, 1e-9) for path in PATHS)
    assert "plateau" not in rules(each_epoch(still(0.001, rate=1.0), lambda e: {"update_ratios": tiny}))
    assert rules(each_epoch(still(0.001), lambda e: {"learning_rate": 0.0})) == []


def test_a_valley_is_no_plateau() -> None:
    assert rules(losses([1.0, 0.5, 0.45, 0.42, 0.4, 0.3, 0.2, 0.3])) == []


def test_the_rate_of_a_plateau_is_that_of_all_its_epochs() -> None:
    """A last epoch at a low rate does not excuse those before it."""
    run = still(0.001, rate=1.0)
    last = attrs.evolve(run.history[-1], learning_rate=0.01)
    assert rules(attrs.evolve(run, history=(*run.history[:-1], last))) == ["plateau"]


def test_a_plateau_says_how_flat_it_is() -> None:
    text = found(still(0.002, rate=0.5), "plateau").text
    assert "Over the last 2 epochs" in text
    assert "never more than 0.20% apart, though the learning rate was still 50% of its highest" in text


def test_dead_units() -> None:
    run = examined_on(100)
    for dead, units, expected in ((50, 1000, False), (51, 1000, True), (3, 40, True)):
        activity = (UnitActivity("[2]", "relu", units, dead), UnitActivity("[4]", "relu", 0, 0))
        changed = attrs.evolve(run, examination=attrs.evolve(run.examination, activity=activity))
        assert (rules(changed) == ["dead units"]) == expected
    finding = found(changed, "dead units")
    assert finding.title == "Units of [2] relu are dead"
    assert finding.text.startswith("3 of 40 units (7.5%) were 0 for every one of the 100 testing examples.")
    assert rules(attrs.evolve(changed, examination=attrs.evolve(changed.examination, examples=99))) == []


def examined_on(examples: int) -> RunRecord:
    run = healthy_run()
    return attrs.evolve(run, examination=attrs.evolve(run.examination, examples=examples))


def test_units_that_are_silent_for_the_only_class_tested_are_not_called_dead() -> None:
    activity = (UnitActivity("[2]", "relu", 16, 10),)
    for confusion, expected in (([[100, 0], [0, 0]], []), ([[99, 0], [0, 1]], ["dead units"])):
        run = answered(confusion)
        run = attrs.evolve(run, examination=attrs.evolve(run.examination, examples=100, activity=activity))
        assert rules(run) == expected


def gradients(first: float, last: float) -> RunRecord:
    """Norms relative to parameters of norm 10; the biases are no measure of a layer."""
    sizes = (("[1].weight", first * 10), ("[1].bias", 1e6), ("[3].weight", last * 10), ("[3].bias", 0.0))
    return each_epoch(healthy_run(), lambda e: {"data_gradient_norms": sizes})


@pytest.mark.parametrize(
    ("first", "last", "title"),
    [
        (1.0, 1000 * BELOW, ""),
        (1.0, 1000 * ABOVE, "Gradients vanish towards the first layer"),
        (1000 * BELOW, 1.0, ""),
        (1000 * ABOVE, 1.0, "Gradients explode towards the first layer"),
        (0.0, 1.0, "Gradients vanish towards the first layer"),
        (0.0, 0.0, ""),  # nothing left to learn
    ],
)
def test_gradients_by_layer(first: float, last: float, title: str) -> None:
    run = gradients(first, last)
    assert [f.title for f in findings(run)] == [title] * bool(title)
    if title and first:
        assert "1,000 times" in found(run, "gradients by layer").text


def test_gradient_growth() -> None:
    run = healthy_run()
    for factor, expected in ((100 * BELOW, False), (100 * ABOVE, True)):
        sizes = tuple((path, 0.2 * factor) for path in PATHS)
        last = attrs.evolve(run.history[-1], data_gradient_norms=sizes)
        changed = attrs.evolve(run, history=(*run.history[:-1], last))
        assert ("gradient growth" in rules(changed)) == expected
    assert found(changed, "gradient growth").title == "The gradient grew 100-fold"
    assert (
        "went from 0.400 to 40.000, from the end of epoch 1 to the end of epoch 8."
        in found(changed, "gradient growth").text
    )
    last = attrs.evolve(run.history[-1], data_gradient_norms=((PATHS[0], 1e300), (PATHS[1], 1e300)))
    far = attrs.evolve(run, history=(*run.history[:-1], last))
    assert found(far, "gradient growth").title == "The gradient grew 3.54e+300-fold"


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.03 * ABOVE, "learning rate too high"),
        (0.03 * BELOW, ""),
        (1e-5 * ABOVE, ""),
        (1e-5 * BELOW, "learning rate too low"),
    ],
)
def test_learning_rate(ratio: float, expected: str) -> None:
    ratios = (("[1].weight", 0.001), ("[1].bias", 1.0), ("[3].weight", ratio), ("[3].bias", 1e-9))
    run = each_epoch(healthy_run(), lambda e: {"update_ratios": ratios})
    assert rules(run) == [expected] * bool(expected)
    if expected:
        assert "[3].weight" in found(run, expected).title


def test_a_rate_that_is_low_at_the_end_only_is_not_too_low() -> None:
    """As schedules leave it; but one that has run out before the run is half over was not meant for it."""
    ratio = (("[1].weight", 1e-7),)
    for epochs, expected in ((5, []), (3, ["learning rate too low"])):
        run = each_epoch(healthy_run(), lambda e, n=epochs: {"update_ratios": ratio} if e.epoch > n else {})
        assert rules(run) == expected


def answered(
    confusion: Sequence[Sequence[int]], names: Sequence[str] | None = None, train: Sequence[int] | None = None
) -> RunRecord:
    """A healthy run but for its answers, on data of as many classes, each with training examples."""
    run, classes = healthy_run(), len(confusion)
    answers = Answers(tuple(map(tuple, confusion)), run.examination.answers.bins, ())
    data = attrs.evolve(
        run.data,
        classes=tuple(names or (f"class {k}" for k in range(classes))),
        train_counts=tuple(train or [50] * classes),
        test_counts=tuple(map(sum, confusion)),
    )
    examination = attrs.evolve(run.examination, answers=answers, examples=sum(map(sum, confusion)))
    return attrs.evolve(run, examination=examination, data=data)


def test_class_never_predicted() -> None:
    assert rules(answered([[5, 1, 0], [0, 5, 0], [5, 0, 0]])) == ["class never predicted"]
    assert rules(answered([[5, 1, 0], [0, 5, 0], [4, 0, 0]])) == []  # too few to tell
    assert rules(answered([[5, 0, 1], [0, 5, 0], [5, 0, 0]])) == []
    assert rules(answered([[5, 1, 0], [0, 5, 0], [0, 0, 0]])) == []  # nor is there any example of it
    finding = found(answered([[0, 6, 0], [0, 5, 0], [0, 9, 0]], ("cat", "dog", "cow")), "class never predicted")
    assert finding.title == "2 of 3 classes are never predicted"
    assert (
        finding.text == "No testing example was predicted as cat or cow, though 15 of the 20 belong to these classes."
    )
    one = found(answered([[15, 0], [5, 0]]), "class never predicted")
    assert one.text == "No testing example was predicted as class 1, though 5 of the 20 belong to this class."


def test_a_class_without_training_examples_is_told_from_one_never_predicted() -> None:
    run = answered([[15, 0, 0], [5, 0, 0], [6, 0, 0]], ("cat", "dog", "cow"), train=(50, 50, 0))
    assert rules(run) == ["class without training examples", "class never predicted"]
    assert "predicted as dog, though 5" in found(run, "class never predicted").text
    finding = found(run, "class without training examples")
    assert finding.title == "1 of 3 classes has no training examples"
    assert finding.text == (
        "There is no training example of cow. The network cannot learn this class. 6 of the 26 testing examples belong "
        "there."
    )
    two = found(answered([[15, 0, 0], [5, 0, 0], [6, 0, 0]], train=(50, 0, 0)), "class without training examples")
    assert two.title == "2 of 3 classes have no training examples"
    assert "no training example of class 1 or class 2. The network cannot learn these classes." in two.text
    none = found(answered([[15, 0], [0, 0]], train=(50, 0)), "class without training examples")
    assert none.text.endswith("The network cannot learn this class.")


def test_a_class_of_which_the_counts_do_not_know_has_no_training_examples() -> None:
    """The training labels end before the testing labels and the outputs do."""
    run = answered([[5, 0, 0], [0, 5, 0], [0, 0, 5]], train=(50, 50))
    assert "no training example of class 2." in found(run, "class without training examples").text


def lost(count: int) -> RunRecord:
    """Every class is taken for the first of so many."""
    return answered([[9 * (k == 0) for k in range(count)] for _ in range(count)])


def test_all_classes_never_predicted_are_named() -> None:
    names = [f"class {k}" for k in range(1, 31)]
    text = found(lost(31), "class never predicted").text
    assert f"predicted as {', '.join(names[:-1])} or {names[-1]}, though 270 of" in text
    assert "predicted as the classes of numbers 1-31, though" in found(lost(32), "class never predicted").text


def test_of_very_many_classes_the_rest_is_counted() -> None:
    """Every other of 200 classes: no two of them are a range."""
    confusion = [[9 * (k == j - j % 2) for k in range(200)] for j in range(200)]
    text = found(answered(confusion), "class never predicted").text
    assert "numbers 1, 3, 5, " in text
    assert ", 119 and 40 more, which the table of classes has, though 900 of" in text


def test_class_names_that_do_not_fit() -> None:
    run = answered([[5, 0, 0], [0, 5, 0], [0, 0, 5]], names=("cat", "dog"))
    assert found(run, "class names").text == (
        "The data set names 2 classes, and the network has 3 outputs. Classes are shown by their numbers, from 0. Give "
        "the data set one name for each output."
    )
    assert rules(attrs.evolve(run, data=attrs.evolve(run.data, classes=()))) == []  # nobody named them


def test_examples_without_an_answer() -> None:
    run = answered([[5, 0, 0], [0, 5, 0], [0, 0, 5]], names=("cat", "dog", "cow"))
    answers = attrs.evolve(run.examination.answers, unanswered=(0, 2, 1))
    run = attrs.evolve(run, examination=attrs.evolve(run.examination, answers=answers, examples=18))
    assert rules(run) == ["no answer"]
    assert found(run, "no answer").text == (
        "For 3 of 18 testing examples an output is NaN. They belong to dog (2) and cow (1), and are in no column of "
        "the confusion matrix."
    )
    assert rules(attrs.evolve(run, examination=attrs.evolve(run.examination, answers=None))) == []


def test_units_that_are_not_finite() -> None:
    run = examined_on(20)
    activity = (UnitActivity("[2]", "relu", 16, 0, 0), UnitActivity("[4]", "relu", 16, 0, 3))
    finding = found(attrs.evolve(run, examination=attrs.evolve(run.examination, activity=activity)), "units not finite")
    assert finding.title == "Outputs of [4] relu are not finite"
    assert "3 of 16 units were NaN or infinite for at least one of the 20 testing examples" in finding.text


def common(count: int | None, examples: int = 10_000, **changes: str) -> RunRecord:
    run = healthy_run()
    return attrs.evolve(run, data=attrs.evolve(run.data, common_examples=count, test_examples=examples, **changes))


def test_common_examples() -> None:
    for count, expected in ((None, False), (0, False), (10, False), (11, True), (10_000, True)):
        assert rules(common(count)) == ["common examples"] * expected
    assert rules(common(1, 100)) == ["common examples"]
    finding = found(common(1234), "common examples")
    assert finding.title == "The testing set overlaps the training set"
    assert finding.text.startswith("1,234 of 10,000 testing examples (12.3%) are training examples too.")


def test_the_testing_set_is_the_training_set() -> None:
    """Their checksums tell, where common examples are not counted."""
    finding = found(common(None, 20, test_sha256="ab" * 32), "common examples")
    assert finding.title == "The testing set is the training set"
    assert finding.text.startswith("20 of 20 testing examples (100.0%) are training")
    assert rules(common(None, 20, train_sha256="", test_sha256="")) == []


def scheduled(end: int | None, *rates: float, epoch: int = 10) -> RunRecord:
    """A run of 8 epochs with so many steps each."""
    run = attrs.evolve(healthy_run(), schedule_steps=end)
    by_epoch = dict(zip(range(9 - len(rates), 9), rates, strict=True))
    return each_epoch(
        run, lambda e: {"steps": e.epoch * epoch, "learning_rate": by_epoch.get(e.epoch, e.learning_rate)}
    )


def test_a_schedule_past_its_end() -> None:
    assert rules(scheduled(None)) == rules(scheduled(80)) == rules(scheduled(79, epoch=0)) == []
    assert rules(scheduled(79)) == ["schedule over"]
    finding = found(scheduled(50, 4e-7, 4e-7, 4e-7), "schedule over")
    assert finding.text == (
        "The schedule ends after 50 steps, and the run made 80. In the last 3 epochs the rate was 4e-07 at the epochs' "
        "ends. Make the schedule as long as the run."
    )
    assert "In the last 1 epoch the rate was 0.002" in found(scheduled(79, 0.002), "schedule over").text
    assert "the rate was 0.001 to 0.002" in found(scheduled(60, 0.002, 0.001), "schedule over").text


def test_numbers_of_which_one_rose_or_fell_are_told_apart() -> None:
    text = found(losses([1.0, 0.0141, 0.0139], [1.2, 0.5001, 0.7]), "over-fitting").text
    assert "fell from 0.0141 to 0.0139" in text
    text = found(losses([0.5, 0.02000004, 0.02000003], [1.2, 0.2, 0.3]), "over-fitting").text
    assert "fell from 0.02000004 to 0.02000003" in text


def test_penalties_larger_than_the_total() -> None:
    """As they are beside a data loss below 0."""
    first, last = evaluation(-1.0, penalties=(2.0, 1.0)), evaluation(-3.0, penalties=(6.0, 1.0))
    assert "the penalties are 7.000 of a total of 4.000" in found(history([first, last]), "penalty dominates").text
    last = evaluation(-8.0, penalties=(7.0, 1.0))
    assert (
        "penalties are 8.000 of a total of 0.000"
        in found(history([evaluation(-2.0, penalties=(0.5, 1.0)), last]), "penalty dominates").text
    )


def test_label_imbalance() -> None:
    run = healthy_run()
    for counts, expected in (((50, 50, 100), False), ((50, 51, 101), True), ((), False)):
        changed = attrs.evolve(run, data=attrs.evolve(run.data, train_counts=counts))
        assert (rules(changed) == ["label imbalance"]) == expected
    for counts, expected in (((1, 6, 11), False), ((1, 6, 12), True), ((1, 1, 3), False)):  # what chance explains
        changed = attrs.evolve(run, data=attrs.evolve(run.data, train_counts=counts))
        assert (rules(changed) == ["label imbalance"]) == expected
    changed = attrs.evolve(run, data=attrs.evolve(run.data, train_counts=(50, 100, 850)))
    assert "US$ & <co> has 850 training examples (85.0% of all), cat has 50" in found(changed, "label imbalance").text


@pytest.mark.parametrize(("test", "expected"), [(0.6434, False), (0.6435, True)])
def test_test_better_than_train(test: float, expected: bool) -> None:
    """Of 1,000 and 1,000 at 0.578, three standard deviations are 0.06542."""
    run = history(
        [evaluation(0.9**e, 0.578, 1000) for e in range(8)], [evaluation(0.9**e, test, 1000) for e in range(8)]
    )
    assert ("test better than train" in rules(run)) == expected
    weighted = attrs.evolve(run, settings=(("testing weights", "loss and accuracy are means weighted by these"),))
    assert "test better than train" not in rules(weighted)  # its chance is not known


def everything_wrong() -> list[RunRecord]:
    imbalanced = whole_run()
    imbalanced = attrs.evolve(imbalanced, data=attrs.evolve(imbalanced.data, train_counts=(1, 2, 97)), ended="Killed")
    dead = examined_on(100)
    dead = attrs.evolve(dead, examination=attrs.evolve(dead.examination, activity=(UnitActivity("[2]", "relu", 4, 4),)))
    high = each_epoch(healthy_run(), lambda e: {"update_ratios": (("[1].weight", 0.5),)})
    grown = healthy_run()
    big = attrs.evolve(grown.history[-1], data_gradient_norms=tuple((p, 1e3) for p in PATHS))
    unanswered = answered([[9, 0], [0, 9]])
    answers = attrs.evolve(unanswered.examination.answers, unanswered=(1, 0))
    unanswered = attrs.evolve(unanswered, examination=attrs.evolve(unanswered.examination, answers=answers))
    return [
        run_record(), imbalanced, dead, high, rising(2.0, 0.5), ignored(3, 4.0), gap(0.3), still(0.001, rate=1.0),
        losses([2.0, 1.0, 9.0]), losses([2.0, 1.0, math.inf]), gradients(1.0, 1e4), answered([[9, 0], [9, 0]]),
        attrs.evolve(grown, history=(*grown.history[:-1], big)),
        history([evaluation(1.0, 0.1)] * 2, [evaluation(1.0, 0.9)] * 2),
        each_epoch(healthy_run(), lambda e: {"update_ratios": (("[1].weight", 1e-9),)}),
        losses([2.0, 1.0], [1.0, math.inf]), common(5000), scheduled(40), answered([[9, 0], [0, 9]], train=(100, 0)),
        answered([[9, 0], [0, 9]], names=("one",)), unanswered,
        attrs.evolve(healthy_run(), planned_epochs=9),
    ]  # fmt: skip


@pytest.mark.parametrize(("end", "expected"), [(0.01 + 0.02 * ABOVE, ["divergence"]), (0.01 + 0.02 * BELOW, [])])
def test_what_is_negligible_beside_the_highest_loss_is_no_trouble(end: float, expected: list[str]) -> None:
    """However large beside the lowest."""
    assert rules(attrs.evolve(losses([1.0, 0.01, end], [1.0, 0.9, 0.8]), examination=None)) == expected


# Runs that are perfect, or have too little of something.

SIZES = st.one_of(st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 1.0, 1e9, 1e300, math.inf, math.nan]), st.floats(0, 1e6))
COUNTS = st.integers(0, 200)


@st.composite
def made_up_runs(
    draw: st.DrawFn,
    losses: st.SearchStrategy[float] = SIZES,
    accuracies: st.SearchStrategy[float] = st.one_of(st.floats(0, 1), st.just(math.nan)),  # noqa: B008
    epochs: st.SearchStrategy[int] = st.sampled_from([1, 2, 3, 8]),  # noqa: B008
    examples: st.SearchStrategy[int] = st.integers(1, 1000),  # noqa: B008
    classes: st.SearchStrategy[int] = st.integers(1, 5),  # noqa: B008
) -> RunRecord:
    """A run of whatever numbers a record may hold, one penalty among them."""
    sides = {side: draw(examples) for side in ("train", "test")}

    def norms() -> tuple[tuple[str, float], ...]:
        return tuple((path, draw(SIZES)) for path in PATHS)

    def side(name: str) -> Evaluation:
        penalty = draw(st.one_of(st.floats(0, 1e6), st.just(math.inf), st.just(math.nan)))
        return evaluation(draw(losses), draw(accuracies), sides[name], (penalty,))

    history = tuple(
        EpochNumbers(
            epoch + 1, side("train"), side("test"), evaluation(1.0), norms(), norms(), norms(), norms(),
            learning_rate=draw(st.floats(0, 10)), seconds=1.0, examples_per_second=1.0, steps=draw(COUNTS),
        )
        for epoch in range(draw(epochs))
    )  # fmt: skip
    count, run = draw(classes), healthy_run()
    confusion = draw(st.lists(st.lists(COUNTS, min_size=count, max_size=count), min_size=count, max_size=count))
    some = st.one_of(st.just([]), st.lists(COUNTS, min_size=1, max_size=count + 2))
    answers = attrs.evolve(
        run.examination.answers,
        confusion=tuple(map(tuple, confusion)),
        mistakes=(),
        unanswered=tuple(draw(st.one_of(st.just([]), st.lists(COUNTS, min_size=count, max_size=count)))),
    )
    units = draw(COUNTS)
    activity = (UnitActivity("[2]", "relu", units, draw(st.integers(0, units)), draw(st.integers(0, units))),)
    data = attrs.evolve(
        run.data,
        classes=tuple(draw(st.lists(st.text(max_size=3), max_size=count + 1))),
        train_counts=tuple(draw(some)),
        test_counts=tuple(draw(some)),
        train_examples=sides["train"],
        test_examples=draw(st.sampled_from([0, sides["test"]])),
        common_examples=draw(st.one_of(st.none(), COUNTS)),
    )
    return attrs.evolve(
        run,
        history=history,
        planned_epochs=None,
        data=draw(st.sampled_from([None, data])),
        examination=draw(
            st.sampled_from(
                [None, attrs.evolve(run.examination, examples=sides["test"], answers=answers, activity=activity)]
            )
        ),
        loss_name=draw(st.sampled_from(["softmax cross-entropy", "mean squared error"])),
        schedule_steps=draw(st.one_of(st.none(), COUNTS)),
    )


def said_well(run: RunRecord) -> set[str]:
    """The names of the rules that found something, after a look at what they say."""
    found = findings(run)
    for finding in found:
        text = f"{finding.title} {finding.text} {finding.threshold}"
        assert not re.search(
            r"\bnan\b|\bNone\b|\{|\(\)| {2}|\.\.", text.replace(str(run.data and run.data.classes), "")
        ), text
        assert text.strip().endswith(finding.threshold.strip()), text
    assert verdict(run).endswith(".")
    return {finding.rule for finding in found}


@settings(max_examples=60, deadline=None)
@given(made_up_runs())
def test_whatever_the_numbers_are_no_rule_fails(run: RunRecord) -> None:
    said_well(attrs.evolve(run, data=run.data and attrs.evolve(run.data, classes=())))
    findings(run)


JUDGING = {"over-fitting", "under-fitting", "divergence", "plateau", "gradients by layer", "gradient growth",
           "learning rate too high", "learning rate too low", "test better than train"}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(made_up_runs(losses=st.floats(0, 1e-5), accuracies=st.just(1.0)))
def test_a_perfect_run_is_not_found_fault_with(run: RunRecord) -> None:
    """Its gradients, its steps and the changes of its loss are as small as they should be."""
    assert not said_well(run) & JUDGING


@settings(max_examples=60, deadline=None)
@given(made_up_runs(losses=st.sampled_from([0.0, 1e-15, 1e-13]), accuracies=st.just(math.nan)))
def test_nor_is_one_without_answers_whose_loss_is_that_of_rounding(run: RunRecord) -> None:
    assert not said_well(run) & JUDGING


@settings(max_examples=60, deadline=None)
@given(made_up_runs(losses=st.just(0.0), accuracies=st.just(1.0), classes=st.just(1)))
def test_of_a_network_with_one_output_nothing_is_expected(run: RunRecord) -> None:
    assert not said_well(run) & (JUDGING | {"class never predicted", "dead units"})


@settings(max_examples=60, deadline=None)
@given(made_up_runs(examples=st.integers(1, 29), losses=st.floats(0, 10), accuracies=st.floats(0, 1)))
def test_few_examples_tell_nothing_of_the_set_they_are_from(run: RunRecord) -> None:
    assert not said_well(run) & {"over-fitting", "under-fitting", "test better than train", "dead units"}


@settings(max_examples=60, deadline=None)
@given(made_up_runs(epochs=st.just(1), losses=st.floats(0, 10)))
def test_one_epoch_tells_nothing_of_how_a_run_went(run: RunRecord) -> None:
    assert not said_well(run) & {"under-fitting", "divergence", "plateau", "gradient growth", "penalty dominates",
                                 "penalty ignored"}  # fmt: skip


def perfect(epochs: int = 10) -> RunRecord:
    """Everything is right from the first epoch on, so that nothing moves."""
    right = [evaluation(0.0, 1.0, 1000)] * epochs
    still = tuple((path, 0.0) for path in PATHS)
    return each_epoch(history(right), lambda e: {"update_ratios": still, "data_gradient_norms": still})


def test_a_run_that_learnt_all_at_once() -> None:
    assert findings(perfect()) == ()
    assert "with an accuracy of 1.000" in verdict(perfect())


def test_small_steps_after_the_last_thing_was_learnt_are_no_low_rate() -> None:
    """Two epochs of eight had something to learn."""
    tiny = tuple((path, 1e-9) for path in PATHS)
    learnt = history([evaluation(0.5 * 0.1**e, min(1.0, 0.5 + 0.25 * e)) for e in range(8)])
    assert rules(each_epoch(learnt, lambda e: {"update_ratios": tiny} if e.epoch > 2 else {})) == []
    assert rules(each_epoch(learnt, lambda e: {"update_ratios": tiny})) == ["learning rate too low"] * 2


def test_small_steps_where_little_is_left_to_learn_are_no_low_rate() -> None:
    """A loss of no more than 2% of a uniform guess's."""
    tiny = tuple((path, 1e-9) for path in PATHS)
    for loss, expected in ((0.0219, 0), (0.022, 2)):
        run = each_epoch(history([evaluation(loss, 0.99)] * 5), lambda e: {"update_ratios": tiny})
        assert rules(run) == ["learning rate too low"] * expected


def test_steps_without_a_gradient_blame_no_rate() -> None:
    """Unless the rate is 0."""
    zero = tuple((path, 0.0) for path in PATHS)
    run = each_epoch(healthy_run(), lambda e: {"update_ratios": zero})
    assert rules(run) == []
    assert rules(each_epoch(run, lambda e: {"learning_rate": 0.0})) == ["learning rate too low"] * 2


@pytest.mark.parametrize(("steps", "parameters", "expected"), [(10, 10, 1), (9, 10, 0), (0, 10, 1), (10, 9, 0)])
def test_a_few_steps_or_parameters_tell_nothing_of_a_rate(steps: int, parameters: int, expected: int) -> None:
    """0 steps: it is not known how many there were."""
    run = each_epoch(healthy_run(), lambda e: {"steps": steps, "update_ratios": (("[1].weight", 0.5),)})
    layer = LayerFacts("[1]", "linear(1)", (1,), parameters, 9, 0)
    assert len(rules(attrs.evolve(run, layers=(layer,)))) == expected


def test_rounding_of_a_loss_that_is_zero_is_neither_divergence_nor_a_plateau() -> None:
    """A regression that is solved; and one whose loss is small, but not nothing."""
    for end, expected in ((1e-12, []), (1.1e-12, ["divergence"])):
        run = history([evaluation(v, math.nan) for v in [0.0] * 9 + [end]])
        assert rules(attrs.evolve(run, examination=None, loss_name="mean squared error")) == expected
    solved = history([evaluation(1e-14, math.nan)] * 10)
    assert rules(attrs.evolve(solved, examination=None, loss_name="mean squared error")) == []


def test_a_gap_on_a_testing_example_or_two_is_none() -> None:
    """Which of 1,000 right answers and no right one are hundreds of standard deviations apart."""
    assert two_proportion_z(1.0, 1000, 0.0, 1) > 30
    for examples, expected in ((1, []), (29, []), (30, ["over-fitting"])):
        run = history([evaluation(0.1, 0.99, 1000)] * 2, [evaluation(0.2, 0.5, examples)] * 2)
        assert rules(run) == expected
        flipped = history([evaluation(0.2, 0.5, 1000)] * 2, [evaluation(0.1, 0.99, examples)] * 2)
        assert rules(flipped) == ["test better than train"] * bool(expected)


def test_too_few_epochs_to_have_learnt_are_no_under_fitting() -> None:
    for epochs, expected in ((2, []), (3, ["under-fitting"])):
        assert rules(history([evaluation(1.09, 0.4)] * epochs)) == expected
