import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import run_record, whole_run, with_end

from funcnet.data.dataset import DataError
from funcnet.record import RunRecord
from funcnet.run_file import read_run, run_to_json, write_run
from funcnet.step import PenaltyValue


def changed(path: Path, change: Any) -> Path:
    """The file of a whole run, its content changed by hand."""
    content = json.loads(run_to_json(whole_run()))
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "run", [run_record(), whole_run(), RunRecord("empty", seed=2**64 - 1)], ids=lambda r: r.dataset
)
def test_a_run_is_read_back_equal(run: RunRecord, tmp_path: Path) -> None:
    write_run(run, tmp_path / "run.json")
    back = read_run(tmp_path / "run.json")
    assert back == run
    assert run_to_json(back) == run_to_json(run)


numbers = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])


@given(loss=numbers, accuracy=st.floats(0, 1) | st.just(math.nan), text=st.text(), seed=st.integers(0, 2**64 - 1))
def test_any_number_and_any_text(
    loss: float, accuracy: float, text: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = whole_run()
    end = attrs.evolve(
        run.test[-1],
        data_loss=loss,
        accuracy=accuracy,
        penalties=(PenaltyValue("[1].weight", "l2", loss), run.test[-1].penalties[1]),
    )
    last = attrs.evolve(run.history[-1], gradient_norms=(("p", abs(loss)),))
    run = attrs.evolve(run, history=(*run.history[:-1], last))
    run = attrs.evolve(with_end(run, test=end), dataset=text.encode(errors="replace").decode(), seed=seed)
    path = tmp_path_factory.getbasetemp() / "run.json"
    write_run(run, path)
    assert repr(read_run(path)) == repr(run)
    assert read_run(path) == run


def test_the_file_says_what_it_is() -> None:
    content = json.loads(run_to_json(whole_run()))
    assert (content["format"], content["version"]) == ("funcnet run", 3)
    run = content["run"]
    assert list(run) == [field.name for field in attrs.fields(RunRecord)]
    assert run["history"][0]["train"]["penalties"][0] == {"path": "[1].weight", "name": "l2", "value": 2.0}
    assert run["examination"]["answers"]["mistakes"][0]["picture"]["pixels"] == "AAECAwQFBgcICQoL"


def test_what_is_not_a_number_is_text_in_the_file() -> None:
    """JSON has no other way, and readers in other languages refuse NaN."""
    run = run_record(epochs=1)
    run = with_end(
        run, test=attrs.evolve(run.test[0], accuracy=math.nan), train=attrs.evolve(run.train[0], data_loss=math.inf)
    )
    (epoch,) = json.loads(run_to_json(run), parse_constant=pytest.fail)["run"]["history"]
    assert (epoch["test"]["accuracy"], epoch["train"]["data_loss"]) == ("nan", "inf")


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path / "run.json", lambda content: content.update(version=4))
    with pytest.raises(
        DataError, match=r"run\.json: expected a run of version 1 to 3, found version 4: it was written by"
    ):
        read_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="else"), 'expected the JSON of a run, {"format": "funcnet run", ...}'),
        (lambda c: c.update(version=True), "expected a run of version 1 to 3, found version True"),
        (lambda c: c.update(version=1.0), "expected a run of version 1 to 3, found version 1.0"),
        (lambda c: c.update(else_="x"), "expected nothing but format, version and run, found else_"),
        (lambda c: c.pop("run"), "expected the run's fields under"),
        (lambda c: c.update(run=[1]), "expected the run's fields under"),
        (lambda c: c["run"]["history"].reverse(), "expected the epochs of a run from 1 on, found 3 in place 1 @ run"),
        (lambda c: c["run"]["history"][1]["train"]["penalties"].pop(), "others in epoch 2 @ run"),
        (lambda c: c["run"]["history"][1]["test"].update(accuracy=1.5), "found 1.5 of 20 in epoch 2 @ run"),
        (
            lambda c: c["run"]["history"][1].update(learning_rate=-0.1),
            "from 0 up, found a negative learning rate in epoch 2 @ run",
        ),
        (
            lambda c: c["run"]["history"][1]["parameter_norms"][0].__setitem__(1, -1.0),
            "found a negative [1].weight in epoch 2 @ run",
        ),
        (lambda c: c["run"]["history"][1]["test"].update(examples=0), "found 0.35 of 0 in epoch 2 @ run"),
        (lambda c: c["run"]["examination"]["answers"]["confusion"][0].pop(), "expected a confusion matrix"),
        (lambda c: c["run"]["examination"]["answers"].update(bins=[]), "expected bins of confidence"),
        (
            lambda c: c["run"]["examination"]["answers"]["mistakes"][0].update(true=-1),
            "expected mistakes among 3 classes",
        ),
        (lambda c: c["run"]["augmented"][1].pop(), "expected rows of as many images each, found 2, 1"),
        (lambda c: c["run"].update(augmented=[[], []]), "expected rows of as many images each, found 0, 0"),
        (lambda c: c["run"]["examination"]["filters"][0].update(shape=[2, 2]), "found 12 bytes of shape (2, 2)"),
        (lambda c: c["run"]["examination"]["filters"][0].update(shape=[-2, -6]), "found 12 bytes of shape (-2, -6)"),
        (lambda c: c["run"]["examination"]["answers"]["confusion"][0].insert(0, 10**30), "expected a confusion matrix"),
        (lambda c: c["run"]["examination"]["answers"]["confusion"][0].__setitem__(0, 10**30), "confusion matrix"),
        (
            lambda c: c["run"]["examination"]["answers"]["bins"][0].update(count=-5),
            "expected a count, from 0 up, found -5",
        ),
        (lambda c: c["run"]["examination"]["answers"]["bins"][0].update(accuracy=3), "a share from 0 to 1, found 3.0"),
        (
            lambda c: c["run"]["examination"]["answers"]["mistakes"][0].update(confidence=7.0),
            "a share from 0 to 1, found 7.0",
        ),
        (
            lambda c: c["run"]["examination"]["activity"][0].update(never_active=41),
            "expected some of 40 units, found 41",
        ),
        (lambda c: c["run"].update(planned_epochs=-3), "expected a number of planned epochs from 0 up, found -3"),
        (lambda c: c["run"]["data"].update(train_counts=[1, -2]), "number of train counts from 0 up, found -2"),
        (lambda c: c["run"].update(dataset="\ud800"), "expected a text, found '\\ud800' @ run.dataset"),
        (lambda c: c["run"].pop("seed"), "required field missing @ run.seed"),
        (lambda c: c["run"].update(seeds=1), "extra fields found (seeds) @ run"),
        (lambda c: c["run"].update(seed="1"), "expected a whole number, found '1' @ run.seed"),
        (lambda c: c["run"].update(seed=True), "expected a whole number, found True @ run.seed"),
        (lambda c: c["run"].update(dataset=5), "expected a text, found 5 @ run.dataset"),
        (
            lambda c: c["run"]["history"][1]["test"].update(data_loss="much"),
            "expected a number, found 'much' @ run.history[1].test.data_loss",
        ),
        (
            lambda c: c["run"]["examination"]["answers"]["mistakes"][0]["picture"].update(pixels="AAE!CAwQFBgcICQoL"),
            "@ run.examination.answers.mistakes[0].picture.pixels",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(change: Any, message: str, tmp_path: Path) -> None:
    path = changed(tmp_path / "run.json", change)
    with pytest.raises(DataError) as error:
        read_run(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_file_of_version_1() -> None:
    """Written by the release that had it. What it does not say has its default."""
    run = read_run(Path(__file__).parent / "run-version-1.json")
    assert (run.dataset, run.epochs, run.seed) == ("glyphs", 2, 0)
    assert (run.started, run.schedule_steps) == ("", None)
    assert run.history[1].train.data_loss == 2.12759814453125
    assert (run.history[1].steps, math.isnan(run.history[1].total_seconds)) == (0, True)
    assert run.data is not None
    assert (run.data.train_counts[:2], run.data.common_examples) == ((88, 103), None)
    assert run.examination is not None
    assert run.examination.answers is not None
    assert run.examination.answers.unanswered == ()
    assert len(run.examination.filters) == 4


def test_a_file_of_version_2_is_read() -> None:
    run = read_run(Path(__file__).parent / "run-version-2.json")
    assert (run.dataset, run.epochs, run.seed) == ("glyphs", 2, 0)
    assert run.started == "2026-11-29T07:03:42+00:00"
    assert (run.history[1].train.data_loss, run.history[1].steps) == (2.3646546936035158, 14)
    assert run.data is not None
    assert run.data.common_examples == 0
    assert run.augmented == ()


def test_a_field_that_is_there_twice(tmp_path: Path) -> None:
    write_run(whole_run(), tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"seed": 7,', '"seed": 7, "seed": 8,'))
    with pytest.raises(DataError, match="'seed' is there more than once"):
        read_run(tmp_path / "run.json")


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"run"', "\x00", '{"format": "funcnet run"'])
def test_a_file_that_holds_something_else(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=r"run\.json: expected"):
        read_run(tmp_path / "run.json")


def test_a_file_of_nothing_but_depth(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"run\.json: expected"):
        read_run(tmp_path / "run.json")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="expected a run as JSON"):
        read_run(tmp_path / "run.json")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "run.json")
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(OSError, match="it is a pipe, not a file"):
        read_run(tmp_path / "run.json")


def test_a_killed_run_can_be_reported(tmp_path: Path) -> None:
    """The hardest way to go: SIGKILL in the middle of an epoch. Its file has all epochs before it."""
    command = [sys.executable, "-m", "funcnet", "lab-report", "--epochs", "100000", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   9:"):
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    run = read_run(tmp_path / "run-glyphs.json")
    assert 2 <= run.epochs < 100000
    assert (run.planned_epochs, run.ended) == (100000, "")
    assert run.examination is not None
