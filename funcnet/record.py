"""The record of a run: the numbers of its epochs, column by column, without the parameters."""

from __future__ import annotations

import attrs

from funcnet.step import Evaluation
from funcnet.train import EpochRecord

__all__ = ["RunRecord"]


@attrs.frozen
class RunRecord:
    """One training run, as reports need it. A value: ``and_epoch`` returns a longer one.

    Attributes:
        dataset: the name of the data set.
        seed: the seed that everything random in the run was drawn from.
        settings: what else the run was made with, as (name, value) to be printed.
        loss_name: the name of the data loss; empty before the first epoch.
        train: loss, penalties and accuracy over the training set after each epoch.
        test: the same over the testing set.
        learning_rates: the rate of each epoch's last step.
        examples_per_second: the training examples of each epoch over the seconds of its steps.
    """

    dataset: str
    seed: int
    settings: tuple[tuple[str, str], ...] = ()
    loss_name: str = ""
    train: tuple[Evaluation, ...] = ()
    test: tuple[Evaluation, ...] = ()
    learning_rates: tuple[float, ...] = ()
    examples_per_second: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        """The number of epochs recorded."""
        return len(self.train)

    def and_epoch(self, record: EpochRecord) -> RunRecord:
        """The run with one more epoch.

        Raises:
            ValueError: where that epoch is not the next one.
        """
        if record.epoch != self.epochs + 1:
            raise ValueError(f"a run of {self.epochs} epochs cannot go on with epoch {record.epoch}")
        return attrs.evolve(
            self,
            loss_name=record.loss_name,
            train=(*self.train, record.train),
            test=(*self.test, record.test),
            learning_rates=(*self.learning_rates, record.learning_rate),
            examples_per_second=(*self.examples_per_second, record.examples_per_second),
        )
