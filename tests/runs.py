"""A run made up by hand: two penalties, and a cross-entropy that falls while the total rises."""

from funcnet.record import RunRecord
from funcnet.step import Evaluation, PenaltyValue


def run_record(dataset: str = "cifar-10", epochs: int = 3) -> RunRecord:
    def column(data_loss: float, accuracy: float, examples: int) -> tuple[Evaluation, ...]:
        return tuple(
            Evaluation(
                data_loss / (e + 1),
                (PenaltyValue("[1].weight", "l2", 2.0 * (e + 1)), PenaltyValue("[3].weight", "l2", 0.25)),
                accuracy + 0.1 * e,
                examples,
            )
            for e in range(epochs)
        )

    return RunRecord(
        dataset=dataset,
        seed=7,
        loss_name="softmax cross-entropy",
        settings=(("network", "chain(flatten, linear(8))"),),
        train=column(1.5, 0.5, 100),
        test=column(3.0, 0.25, 20),
        learning_rates=(0.1,) * epochs,
        examples_per_second=(1000.0,) * epochs,
    )
