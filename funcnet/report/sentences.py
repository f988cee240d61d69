"""The sentences of a report: what a run was, and what its figures show, with the numbers to look for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from funcnet.examination import Answers
from funcnet.record import RunRecord
from funcnet.report.classes import FEW, group_size
from funcnet.report.comparison import judging_part, recipes
from funcnet.report.epochs import LONG
from funcnet.report.statistics import calibration_error, class_scores, class_sizes
from funcnet.report.tables import counted, date, durations, from_to, loss_label, number, numbers
from funcnet.step import Evaluation

__all__ = [
    "UPDATES",
    "about_accuracy",
    "about_augmented",
    "about_choice",
    "about_classes",
    "about_comparison",
    "about_confusion",
    "about_data",
    "about_long_runs",
    "about_loss",
    "about_mistakes",
    "about_norms",
    "about_parts",
    "about_rate",
    "about_recall",
    "about_reliability",
    "about_run",
    "about_unanswered",
    "about_weights",
    "how_measured",
]

_HOW_MEASURED = (
    "Loss and accuracy are measured over the whole {sets} sets, with the parameters at the end of an "
    "epoch. The total loss is the data loss plus the penalties on the weights. The 95% interval is that of the testing "
    "accuracy (Wilson): it tells how far the accuracy on new examples of the same kind may be from the one measured."
)
UPDATES = (
    "The norm of a step's update over the norm of what it updates, array by array: the median of some of each epoch's "
    "steps, on a logarithmic axis. About 0.001 is usual for weights."
)
_LAYERS, _RECIPES = 8, 6  # whose names, or numbers, a sentence can hold


def how_measured(runs: Sequence[RunRecord]) -> str:
    """How loss and accuracy were measured, and what the validation part is for, if there is one."""
    if not any(run.validation for run in runs):
        return _HOW_MEASURED.format(sets="training and testing")
    return (
        _HOW_MEASURED.format(sets="training, validation and testing")
        + " Nothing is trained on the validation set. It is there to choose by, so that nothing need be chosen by the "
        "testing set."
    )


def about_run(run: RunRecord) -> str:
    """What was trained, on what, when and how long."""
    net = "A network"
    if run.layers:
        net += f" of {sum(layer.parameters for layer in run.layers):,} parameters"
        if len(run.layers) <= _LAYERS:
            net += f" ({', '.join(layer.name for layer in run.layers)})"
    trained = f"{net} was trained on {run.dataset} for {counted(run.epochs, 'epoch')}, with seed {run.seed}."
    began = f" The run began on {date(run)}." if run.started else ""
    return f"{trained}{began} Its epochs took {durations(run)}."


def about_data(run: RunRecord) -> str:
    """What the data are, where they come from and how many there are; empty where that is not known."""
    data = run.data
    if data is None:
        return ""
    classes = f" in {len(data.classes):,} classes" if len(data.classes) > 1 else ""
    held = f", {data.validation_examples:,} for validation" if data.validation_examples else ""
    text = f"{data.train_examples:,} examples{classes} are for training{held} and {data.test_examples:,} for testing."
    if data.description:
        text = f"The data set {run.dataset}: {data.description.rstrip('.')}. {text}"
    if data.origin:
        text += f" Origin: {data.origin.rstrip('.')}."
    if data.common_examples is not None:
        text += (
            f" Of the testing examples, {data.common_examples:,} {'is' if data.common_examples == 1 else 'are'} in the "
            "training set too."
            if data.common_examples
            else " No testing example is in the training set too."
        )
    return text


def about_long_runs(run: RunRecord) -> str:
    """How the curves of a run of very many epochs are drawn; empty for others."""
    if run.epochs <= LONG:
        return ""
    return (
        f"With more than {LONG} epochs, the axes of epochs are logarithmic, and each point of a curve stands for a "
        "group of epochs: the curve is the group's median, the band around it goes from its lowest to its highest "
        "value."
    )


def about_choice(run: RunRecord) -> str:
    """Which epoch was chosen by what, and how its network does; empty where none was."""
    best = run.best
    if best is None:
        return ""
    part, by = run.chosen_by.split()
    what = loss_label(run) if by == "loss" else by
    text = f"Epoch {best.epoch:,} was chosen, as the best of {counted(run.epochs, 'epoch')} by its {what} in {part}."
    *parts, last = (
        f"{number(side.data_loss)} in {name}"
        + ("" if math.isnan(side.accuracy) else f" (accuracy {number(side.accuracy)})")
        for name, side in best.parts
    )
    text += f" Its {loss_label(run)} is {', '.join(parts)} and {last}."
    if best.epoch != run.epochs:
        text += " All else in this report is of the network after the last epoch."
    return text


def about_loss(run: RunRecord) -> str:
    """How the loss went, and how much of it is penalty."""
    first, train, test = run.train[0], run.train[-1], run.test[-1]
    text = f"The total training loss {_went(first.loss, train.loss, run)}; "
    text += f"the validation loss is {number(run.validation[-1].loss)}, " if run.validation else ""
    text += f"the testing loss is {number(test.loss)}"
    if train.penalties and train.loss > 0:
        text += f". Penalties are {train.penalty / train.loss:.1%} of the final training loss"
        text += f"; the {loss_label(run)} {_went(first.data_loss, train.data_loss, run)}"
    if run.weighted:
        text += f". In {' and '.join(run.weighted)}, loss and accuracy are means weighted by the examples' weights"
    return f"{text}."


def about_parts(run: RunRecord) -> str:
    """Which part of the training loss is the largest, at the beginning and at the end."""
    first, last = _largest_part(run, run.train[0]), _largest_part(run, run.train[-1])
    if not run.train[0].penalties:
        return f"Without penalties, the training loss is the {loss_label(run)} alone."
    if run.epochs == 1 or first == last:
        return f"The largest part of the training loss is {last}{' throughout' if run.epochs > 1 else ''}."
    return f"The largest part of the training loss is {first} after the first epoch, and {last} after the last."


def _largest_part(run: RunRecord, evaluation: Evaluation) -> str:
    parts = [(evaluation.data_loss, f"the {loss_label(run)}")]
    parts += [(p.value, f"the {p.name} penalty of {p.path}") for p in evaluation.penalties]
    return max(parts, key=lambda part: part[0])[1]


def about_accuracy(run: RunRecord) -> str:
    """How the accuracies went, and the gap between them."""
    train, test, (part, judged) = run.train[-1].accuracy, run.test[-1].accuracy, run.judged
    gap = f"a final gap of {train - judged[-1].accuracy:.3f}"
    held = f", {_went(judged[0].accuracy, judged[-1].accuracy, run)} in validation" if run.validation else ""
    return (
        f"Accuracy {_went(run.train[0].accuracy, train, run)} in training{held} and "
        f"{_went(run.test[0].accuracy, test, run)} in testing, {gap}{f' in {part}' if held else ''}. The vertical axis "
        "covers the values that occur, not all from 0 to 1."
    )


def about_rate(run: RunRecord) -> str:
    """The highest learning rate and the last."""
    rates = [epoch.learning_rate for epoch in run.history]
    if min(rates) == max(rates):
        return f"The learning rate is {rates[0]:.3g} throughout."
    return (
        f"The learning rate was highest at the end of epoch {rates.index(max(rates)) + 1:,}, {max(rates):.3g}, and "
        f"ended at {rates[-1]:.3g}."
    )


def about_norms(run: RunRecord) -> str:
    """What norms are shown, and how the gradient's went."""
    norms = [math.hypot(*(size for _, size in epoch.gradient_norms)) for epoch in run.history]
    return (
        "The norm of the total loss's gradient, over up to 1,000 training examples, and that of the parameters, array "
        "by array at each epoch's end, on logarithmic axes. The norm of the whole gradient "
        f"{_went(norms[0], norms[-1], run)}."
    )


def about_confusion(answers: Answers, names: tuple[str, ...]) -> str:
    """What rows, columns and colours are, and how many answers are right."""
    right = sum(row[k] for k, row in enumerate(answers.confusion))
    total, size = sum(class_sizes(answers)), group_size(len(names))
    groups = f" Each row and column stands for {size} neighbouring classes." if size > 1 else ""
    numbers = f" Classes go by their numbers, from 0 to {len(names) - 1:,}." if len(names) > FEW else ""
    return (
        "Rows are true classes, columns predicted ones; the colour is the share of the row. "
        f"{right:,} of {total:,} testing examples are on the diagonal: they are predicted rightly.{groups}{numbers}"
    )


def about_classes(answers: Answers, names: tuple[str, ...]) -> str:
    """Which class is recognised best and which worst."""
    met = [(score.f1, name) for score, name in zip(class_scores(answers), names, strict=True) if score.f1 >= 0]
    if not met:
        return "No class has testing examples."
    (worst, weak), (best, strong) = min(met, key=lambda pair: pair[0]), max(met, key=lambda pair: pair[0])
    return (
        f"Classes by F1, with their number of testing examples: {strong} is recognised best (F1 {best:.3f}), {weak} "
        f"worst ({worst:.3f}). The horizontal axis begins just below the lowest share."
    )


def about_recall(answers: Answers) -> str:
    """How many classes are recognised more often than not."""
    recalls = [score.recall for score in class_scores(answers) if score.examples]
    return (
        f"Recall is the share of a class's examples that are predicted rightly. It is above one half for "
        f"{sum(recall > 0.5 for recall in recalls):,} of {len(recalls):,} classes, and 0 for "
        f"{sum(recall == 0 for recall in recalls):,}."
    )


def about_reliability(answers: Answers) -> str:
    """How to read the diagram, and its error in a number."""
    return (
        "A dot below the dashed line means answers less often right than their confidence claims. Error bars are 95% "
        "intervals; the paler a bar, the fewer answers it stands for. Below: how many answers have that confidence. "
        f"The expected calibration error is {calibration_error(answers.bins):.3f}."
    )


def about_mistakes(answers: Answers) -> str:
    """How to read the gallery; it stands above it."""
    shown = sum(mistake.picture is not None for mistake in answers.mistakes)
    return (
        f"The {shown} wrong answers of highest confidence. Above each picture are the class predicted, the true class "
        "in brackets, and the confidence: the probability that the network gave to its prediction."
    )


def about_augmented(run: RunRecord) -> str:
    """How to read the augmented images; it stands above them."""
    how = dict(run.settings).get("augmentation", "")
    below = len(run.augmented) - 1
    epochs = "the first epoch" if below == 1 else f"each of the first {below} epochs"
    return (
        f"The training images were augmented{f' ({how})' if how else ''}, in each epoch in another way. The first row "
        f"has some of them as they are. The rows below show what augmentation makes of them in {epochs}. All losses "
        "and accuracies in this report are of images as they are."
    )


def about_weights(shown: int) -> str:
    """How to read the weights; it stands above them."""
    return (
        f"The weights of {shown} units of the first layer, those of largest norm, laid out as the pixels that they "
        "multiply. A unit of a convolution is a filter. Red is above 0, blue below, and no colour is 0, each unit on "
        "its own scale. Weights of colour images are shown in their own colours, with 0 as a middle grey."
    )


def about_unanswered(answers: Answers) -> str:
    """How many testing examples have no answer; empty for none."""
    missing = sum(answers.unanswered)
    if not missing:
        return ""
    return (
        f"{missing:,} of {sum(class_sizes(answers)):,} testing examples {'has' if missing == 1 else 'have'} no answer, "
        "because an output of the network is not a number. They count as not recognised."
    )


def about_comparison(runs: tuple[RunRecord, ...]) -> str:
    """How to read the comparison, and which recipe ended best."""
    groups = recipes(runs)
    bands = " The band goes from its lowest run to its highest." if any(len(group) > 1 for _, group in groups) else ""
    text = f"Each recipe's mean over its runs, up to the last epoch that all of them made.{bands}"
    if len(groups) > 1:
        part = judging_part(runs)
        means = numbers([sum(dict(run.parts)[part][-1].data_loss for run in group) / len(group) for _, group in groups])
        listed = ", ".join(f"{mean} for recipe {k}" for k, mean in enumerate(means[:_RECIPES], 1))
        text += f" The mean final data loss in {part} is {listed}{', ...' if len(means) > _RECIPES else ''}."
    return text


def _went(first: float, last: float, run: RunRecord) -> str:
    if run.epochs == 1:
        return f"is {number(last)}"
    if first == last:
        return f"stayed at {number(last)}"
    verb = "rose" if last > first else "fell" if last < first else "went"  # NaN
    return f"{verb} {from_to(first, last)}"
