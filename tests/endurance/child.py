"""A run that is made to be killed: it marks in a mapped file what it is doing.

    python child.py lab FOLDER MARKS        funcnet lab-report, with a checkpoint after every few steps
    python child.py script FOLDER MARKS     a script with dropout, batch normalization, Adam and an average

Started again on the same folder, it goes on where it was killed.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHASES = ("starting", "stepping", "evaluating", "writing a checkpoint", "writing the run", "writing the report", "done")


class Marks:
    """The phase, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 1)
        self.set("starting")

    def set(self, phase: str) -> None:
        self._map[0] = PHASES.index(phase)

    def around(self, module: Any, name: str, phase: str) -> None:
        """Mark the phase while this function of the module runs."""
        function: Callable[..., Any] = getattr(module, name)

        def marked(*arguments: Any, **options: Any) -> Any:
            before = self._map[0]
            self.set(phase)
            try:
                return function(*arguments, **options)
            finally:
                self._map[0] = before

        setattr(module, name, marked)


def lab(folder: Path, marks: Marks) -> None:
    """Two data sets' worth of phases in a few seconds."""
    from funcnet.cli import main, runs

    marks.around(runs, "write_run", "writing the run")
    marks.around(runs, "write_pages", "writing the report")
    runs._MINUTES = 0.05 / 60
    resuming = (folder / "checkpoints" / "plan.json").exists()
    options = ["--resume", str(folder)] if resuming else ["--epochs", "5", "--out", str(folder)]
    status = main(["lab-report", *options])
    if status:
        sys.exit(status)


def script(folder: Path, marks: Marks) -> None:
    """What the documentation tells a script to do."""
    import funcnet as fn

    data = fn.data.glyphs_dataset(fn.make_key(0), 1500, 300)
    net = fn.chain(
        fn.flatten(), fn.linear(48), fn.batch_norm(), fn.relu(), fn.dropout(0.2), fn.linear(10)
    )  # fmt: skip
    optimizer = fn.optimizers.average(fn.adam(fn.one_cycle(0.01, 6 * 47)))
    params, _ = net.init(fn.make_key(1), data.train.in_shape)
    penalties = {"[1].weight": fn.l2(1e-4)}
    start = fn.resume(
        folder / "checkpoints",
        fn.init_state(params, optimizer, fn.make_key(2)),
        fn.new_run(net, data, seed=0, epochs=6),
    )
    training = fn.train(
        net, start.state, data, loss=fn.softmax_cross_entropy(), optimizer=optimizer, penalties=penalties, epochs=6,
        batch_size=32,
    )  # fmt: skip
    run = start.run
    assert run is not None
    params = optimizer.evaluated(start.state.params, start.state.opt_state)
    for record in fn.checkpointed(training, folder / "checkpoints", run=run, steps=7):
        run = run.and_epoch(record)
        params = record.params
    from funcnet import report

    marks.around(report, "write_run", "writing the run")
    report.write_run(run, folder / "run-glyphs.json")
    fn.save_model(folder / "model-glyphs.safetensors", fn.make_model(net, params, data, run))


def main() -> None:
    kind, folder, path = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    marks = Marks(path)
    from funcnet import checkpoints, training

    marks.around(checkpoints, "save_checkpoint", "writing a checkpoint")
    marks.around(training, "evaluate", "evaluating")
    marks.around(training, "examine", "evaluating")
    batches = training.batches

    def stepping(*arguments: Any, **options: Any) -> Any:
        marks.set("stepping")
        return batches(*arguments, **options)

    training.batches = stepping
    {"lab": lab, "script": script}[kind](folder, marks)
    marks.set("done")


if __name__ == "__main__":
    main()
