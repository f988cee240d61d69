"""Runs made up by hand: two penalties, and a cross-entropy that falls while the total rises."""

from collections.abc import Sequence

import attrs

from funcnet.examination import Answers, Bin, Examination, LayerFacts, Mistake, Picture, UnitActivity
from funcnet.record import DataFacts, RunRecord
from funcnet.step import Evaluation, PenaltyValue
from funcnet.training import EpochNumbers

PATHS = ("[1].weight", "[1].bias", "[3].weight", "[3].bias")


def evaluation(
    data_loss: float, accuracy: float = 0.5, examples: int = 100, penalties: Sequence[float] = ()
) -> Evaluation:
    """An evaluation whose l2 penalties are those of the weights, in their order."""
    values = zip(PATHS[::2], penalties, strict=False)
    return Evaluation(data_loss, tuple(PenaltyValue(path, "l2", value) for path, value in values), accuracy, examples)


def epoch_numbers(epoch: int, train: Evaluation, test: Evaluation) -> EpochNumbers:
    """The numbers of an epoch in which nothing but its evaluations is worth a word."""
    return EpochNumbers(
        epoch=epoch,
        train=train,
        test=test,
        running=train,
        gradient_norms=tuple((path, 0.25) for path in PATHS),
        data_gradient_norms=tuple((path, 0.2) for path in PATHS),
        parameter_norms=tuple((path, 10.0 if "weight" in path else 1.0) for path in PATHS),
        update_ratios=tuple((path, 0.001) for path in PATHS),
        learning_rate=0.1,
        seconds=0.1,
        examples_per_second=1000.0,
    )


def run_record(dataset: str = "cifar-10", epochs: int = 3) -> RunRecord:
    """The shortest run that can be reported: no examination, no facts."""

    def after(epoch: int, data_loss: float, accuracy: float, examples: int) -> Evaluation:
        return evaluation(
            data_loss / (epoch + 1), min(accuracy + 0.1 * epoch, 1.0), examples, (2.0 * (epoch + 1), 0.25)
        )

    return RunRecord(
        dataset=dataset,
        seed=7,
        loss_name="softmax cross-entropy",
        settings=(("network", "chain(flatten, linear(8))"),),
        history=tuple(epoch_numbers(e + 1, after(e, 1.5, 0.5, 100), after(e, 3.0, 0.25, 20)) for e in range(epochs)),
    )


def with_end(run: RunRecord, **changes: Evaluation) -> RunRecord:
    """The run with other evaluations after its last epoch."""
    return attrs.evolve(run, history=(*run.history[:-1], attrs.evolve(run.history[-1], **changes)))


def dated_run(dataset: str = "cifar-10") -> RunRecord:
    """A whole run that also knows its time, its steps and its data's origin, and has examples without an answer."""
    run = whole_run(dataset)
    history = tuple(attrs.evolve(e, steps=40 * e.epoch, total_seconds=0.5) for e in run.history)
    data = attrs.evolve(facts(), description="tiny pictures", origin="made by hand", common_examples=2)
    examined = examination()
    answers = attrs.evolve(examined.answers, unanswered=(2, 0, 1))
    layer = attrs.evolve(examined.activity[0], not_finite=3)
    return attrs.evolve(
        run,
        history=history,
        data=data,
        examination=attrs.evolve(examined, answers=answers, activity=(layer,)),
        started="2026-11-28T10:15:30+01:00",
        schedule_steps=120,
    )


def healthy_run(epochs: int = 8) -> RunRecord:
    """A run in which no rule finds anything: all losses fall, testing is a little behind training."""
    history = tuple(
        epoch_numbers(
            e + 1,
            evaluation(1.2 * 0.8**e, 0.7 + 0.02 * e, 1000, (1.0 - 0.02 * e, 0.5)),
            evaluation(1.2 * 0.8**e + 0.1, 0.68 + 0.02 * e, 500, (1.0 - 0.02 * e, 0.5)),
        )
        for e in range(epochs)
    )
    return attrs.evolve(run_record(), history=history, planned_epochs=epochs, data=facts(), examination=examination())


def whole_run(dataset: str = "cifar-10", epochs: int = 3) -> RunRecord:
    """A run with everything that a report can show."""
    return attrs.evolve(
        run_record(dataset, epochs),
        command="python train.py",
        planned_epochs=epochs,
        environment=(("NumPy", "2.4"), ("BLAS", "openblas, SkylakeX kernels")),
        data=facts(),
        layers=(LayerFacts("[0]", "flatten", (12,), 0, 0, 0), LayerFacts("[1]", "linear(3)", (3,), 39, 36, 48)),
        examination=examination(),
        augmented=((Picture((2, 2, 3), bytes(range(12))),) * 2, (Picture((2, 2, 3), bytes(range(12, 24))),) * 2),
    )


def facts() -> DataFacts:
    """Three classes of pictures of two by two, in colours."""
    return DataFacts(
        (2, 2, 3), "uint8", 100, 20, ("cat", "dog", "US$ & <co>"), (40, 30, 30), (8, 6, 6), "ab" * 32, "cd" * 32
    )


def examination() -> Examination:
    """Twenty answers, five of them wrong."""
    picture = Picture((2, 2, 3), bytes(range(12)))
    answers = Answers(
        confusion=((7, 1, 0), (2, 4, 0), (0, 2, 4)),
        bins=(*(Bin(0, 0.0, 0.0),) * 9, Bin(8, 0.65, 0.5), *(Bin(0, 0.0, 0.0),) * 4, Bin(12, 0.95, 11 / 12)),
        mistakes=(Mistake(4, 2, 1, 0.97, picture), Mistake(9, 1, 0, 0.66, picture)),
    )
    return Examination(20, (UnitActivity("[2]", "relu", 40, 1),), answers, (picture,) * 2)


def timeless(run: RunRecord) -> RunRecord:
    """The run without its dates and durations, which no two runs share."""
    history = (attrs.evolve(e, seconds=0.0, examples_per_second=0.0, total_seconds=0.0) for e in run.history)
    return attrs.evolve(run, history=tuple(history), started="")
