import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from runs import timeless

from funcnet import tree
from funcnet.cli import lab_report, main
from funcnet.cli import runs as cli_runs
from funcnet.data.registry import load
from funcnet.lab import RECIPES
from funcnet.model_file import load_model
from funcnet.record import RunRecord
from funcnet.report.findings import findings
from funcnet.run_file import read_run


def summary_of(out: Path) -> list[dict[str, object]]:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports take most of a short run's time."""
    monkeypatch.setattr(cli_runs, "write_pages", lambda runs, out, title: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_runs, "write_pages", lambda runs, out, title: None)
        assert main(["lab-report", "--epochs", "4", "--out", str(folder)]) == 0
    return folder


def test_lab_report_on_glyphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["lab-report", "--epochs", "3", "--out", str(out)]) == 0
    files = [
        "classes-glyphs.csv", "history-glyphs.csv", "loss-glyphs.png", "model-glyphs.safetensors", "report.html",
        "report.md", "report.pdf",
        "run-glyphs.json", "summary.json", "summary.md", "tables.tex",
    ]  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == sorted([*files, "figures"])
    (summary,) = summary_of(out)
    assert (summary["dataset"], summary["epochs"], summary["seed"]) == ("glyphs", 3, 0)
    losses = summary["history"]["train_loss"]
    assert losses == sorted(losses, reverse=True)
    assert summary["final"]["test"]["accuracy"] > 0.95
    shown = capsys.readouterr().out
    for text in ("glyphs: 10,000 training and 2,000 testing images", "epoch   3: loss 0.", "Testing", "rules", *files):
        assert text in shown
    run = read_run(out / "run-glyphs.json")
    assert (run.epochs, run.planned_epochs, run.ended) == (3, 3, "")
    assert run.command == "funcnet lab-report glyphs --epochs 3 --seed 0"
    assert dict(run.environment)["NumPy"]
    assert findings(run) == ()
    model, test = load_model(out / "model-glyphs.safetensors"), load("glyphs").test
    assert (model.predict(test.x).argmax(axis=1) == test.y).mean() == pytest.approx(run.test[-1].accuracy)


@pytest.mark.usefixtures("no_pages")
def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["lab-report", "glyphs", "--epochs", "1", "--seed", str(seed), "--out", str(tmp_path / out)]) == 0
        runs.append(timeless(read_run(tmp_path / out / "run-glyphs.json")))
    a, b, c = runs
    assert a == b
    assert a.history != c.history


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lab-report", "--epochs", "0"], "argument --epochs: expected a whole number from 1 up, got 0"),
        (["lab-report", "--epochs", "two"], "argument --epochs: expected a whole number from 1 up, got 'two'"),
        (["lab-report", "--seed", "-1"], "argument --seed: expected a whole number from 0 to 18446744073709551615"),
        (["lab-report", "mnits"], "there is no data set 'mnits'; there are glyphs, fashion-mnist, mnist"),
        (["lab-reprot"], "invalid choice: 'lab-reprot'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_data_is_said_before_any_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab-report", "glyphs", "mnist", "--data", "/no/where", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert (
        captured.err
        == "funcnet: error: the folder /no/where: there is no such folder. Name a folder with --data or FUNCNET_DATA.\n"
    )
    assert captured.out == ""


def test_an_output_folder_that_cannot_be_is_said_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["lab-report", "--out", str(tmp_path / "file")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("funcnet: error: ")
    assert str(tmp_path / "file") in captured.err
    assert captured.out == ""


def test_divergence_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "glyphs", attrs.evolve(RECIPES["glyphs"], peak_rate=1e30))
    assert main(["lab-report", "--epochs", "1", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "funcnet: error: glyphs: the loss became" in error
    assert "No epoch was finished" in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]  # the state before it diverged


@pytest.mark.usefixtures("no_pages")
def test_a_run_that_was_stopped_replaces_none_that_got_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["lab-report", "--epochs", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    whole = read_run(tmp_path / "run-glyphs.json")
    checkpointed = cli_runs.checkpointed

    def stopped(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(checkpointed(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_runs, "checkpointed", stopped)
    assert main(command) == 130
    assert read_run(tmp_path / "run-glyphs.json") == whole
    error = capsys.readouterr().err
    assert "Stopped by Ctrl-C after 1 of 2 epochs." in error
    assert "run-glyphs.json still holds the run of 2 epochs that was made before." in error


def test_nobody_reading_is_no_reason_to_stop(tmp_path: Path) -> None:
    """As in: funcnet lab-report | head -1."""
    with subprocess.Popen(
        [sys.executable, "-m", "funcnet", "lab-report", "--epochs", "2", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 0
    assert summary_of(tmp_path)[0]["epochs"] == 2


def test_ctrl_c_writes_the_report_of_the_epochs_done(tmp_path: Path) -> None:
    """A real signal to a real process, once its second epoch is done."""
    with subprocess.Popen(
        [sys.executable, "-m", "funcnet", "lab-report", "--epochs", "100000", "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "error"},
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch   2:"):
                process.send_signal(signal.SIGINT)
                break
        output, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Stopped by Ctrl-C after " in error
    assert "Traceback" not in error
    run = read_run(tmp_path / "run-glyphs.json")
    assert 2 <= run.epochs < 1000
    assert run.ended == "Stopped by Ctrl-C"
    assert "The run ended early" in (tmp_path / "report.md").read_text()
    assert "report.pdf" in output


def test_ctrl_c_within_the_first_epoch_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the data sets after it are not begun."""

    @contextmanager
    def at_once() -> Iterator[object]:
        yield lambda: signal.SIGINT

    monkeypatch.setattr(cli_runs, "interruptible", at_once)
    monkeypatch.setattr(lab_report, "load", lambda name, folder: attrs.evolve(load("glyphs"), name=name))
    assert main(["lab-report", "glyphs", "mnist", "--out", str(tmp_path)]) == 130
    captured = capsys.readouterr()
    assert "Stopped by Ctrl-C after 0 of 20 epochs." in captured.err
    assert "mnist" not in captured.out
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_do_not_wait_for_matplotlib() -> None:
    code = (
        "import sys; from funcnet.cli import main; sys.argv[1:] = ['--version']\ntry: main()\nexcept SystemExit: pass\n"
    )
    check = "assert 'matplotlib' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True, text=True).stdout
    assert shown.startswith("funcnet 0.")


@pytest.mark.usefixtures("no_pages")
def test_the_real_sets_in_one_epoch(data_folder: Path, tmp_path: Path) -> None:
    """The lab's sets, trained for a twentieth of the lab's time; chance is 0.1, 0.1 and 0.01."""
    least = {"fashion-mnist": 0.83, "cifar-10": 0.40, "cifar-100": 0.14}
    assert main(["lab-report", *least, "--data", str(data_folder), "--epochs", "1", "--out", str(tmp_path)]) == 0
    for name, accuracy in least.items():
        run = read_run(tmp_path / f"run-{name}.json")
        assert (run.dataset, run.epochs) == (name, 1)
        assert run.test[0].accuracy > accuracy


@pytest.mark.usefixtures("no_pages")
def test_another_run_in_the_folder_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["lab-report", "--epochs", "1", "--out", str(tmp_path)]
    assert main(arguments) == main(arguments) == 0  # the same once more
    assert main([*arguments, "--seed", "1"]) == 1
    assert "holds another run (seed 0, 1 epoch, by funcnet lab-report glyphs" in capsys.readouterr().err
    assert read_run(tmp_path / "run-glyphs.json").seed == 0


def test_nobody_hears_why_and_the_report_is_written_all_the_same(tmp_path: Path) -> None:
    """As after Ctrl-C in: funcnet lab-report 2>&1 | tee log."""
    with subprocess.Popen(
        [sys.executable, "-m", "funcnet", "lab-report", "--epochs", "100000", "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch   1:"):
                break
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert process.returncode == 130
    assert read_run(tmp_path / "run-glyphs.json").ended == "Stopped by Ctrl-C"
    assert "The run ended early" in (tmp_path / "report.md").read_text()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes streams")
def test_without_a_standard_error_training_goes_on(tmp_path: Path) -> None:
    command = f"exec '{sys.executable}' -m funcnet lab-report --epochs 1 --out '{tmp_path}' 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True).returncode == 0
    assert (tmp_path / "report.pdf").exists()


def test_ctrl_c_while_the_report_is_written_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    trained = cli_runs._train

    def stopped(*arguments: Any) -> tuple[RunRecord, Any, int]:
        run, params, _ = trained(*arguments)
        return attrs.evolve(run, ended="Stopped by Ctrl-C"), params, 130

    monkeypatch.setattr(cli_runs, "_train", stopped)
    monkeypatch.setattr(cli_runs, "write_pages", interrupted)
    assert main(["lab-report", "--epochs", "1", "--out", str(tmp_path)]) == 130
    assert f"`funcnet report {tmp_path} --out {tmp_path}` makes it" in capsys.readouterr().err
    run = read_run(tmp_path / "run-glyphs.json")
    assert (run.epochs, run.ended) == (1, "Stopped by Ctrl-C")


def lab_report_process(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "funcnet", "lab-report", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "status", "message"),
    [
        ([signal.SIGTERM], 143, "Stopped by SIGTERM after "),
        ([signal.SIGINT, signal.SIGINT], 130, ""),
    ],
)
@pytest.mark.usefixtures("no_pages")
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    signals: list[signal.Signals],
    status: int,
    message: str,
    tmp_path: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Real signals to a real process. After two Ctrl-C, it stops at once, in the middle of what it does."""
    with lab_report_process("--epochs", 4, "--out", tmp_path) as process:
        for line in process.stdout:
            if line.startswith("epoch   2:"):
                for number in signals:
                    process.send_signal(number)
                break
        _, error = process.communicate(timeout=300)
    assert process.returncode == status
    assert message in error
    assert "Traceback" not in error
    assert main(["lab-report", "--resume", str(tmp_path)]) == 0
    assert "Going on after " in capsys.readouterr().out
    assert timeless(read_run(tmp_path / "run-glyphs.json")) == timeless(read_run(whole / "run-glyphs.json"))
    models = [load_model(folder / "model-glyphs.safetensors") for folder in (tmp_path, whole)]
    assert tree.equal(models[0].params, models[1].params)
    assert not (tmp_path / "checkpoints").exists()


def test_an_unfinished_run_is_not_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "plan.json").write_text("{}")
    assert main(["lab-report", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path} holds a run that is not finished. `funcnet lab-report --resume" in capsys.readouterr().err
    assert main(["lab-report", "--resume", str(tmp_path)]) == 1
    assert "plan.json: " in capsys.readouterr().err


def test_there_is_nothing_to_go_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab-report", "--resume", str(tmp_path)]) == 1
    assert "there is no run to go on with" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["lab-report", "--resume", str(tmp_path), "--epochs", "7"])
    assert "it goes with --data alone" in capsys.readouterr().err


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lab_report_process("--epochs", 100000, "--out", tmp_path) as process:
        process.stdout.readline()
        status = main(["lab-report", "--epochs", "1", "--out", str(tmp_path)])
        process.kill()
    assert status == 1
    assert f"{tmp_path}: process {process.pid} writes to this folder" in capsys.readouterr().err


def test_a_run_goes_on_with_the_data_sets_that_were_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first is finished and the third not begun when the second is stopped."""
    monkeypatch.setattr(cli_runs, "write_pages", lambda runs, out, title: None)
    monkeypatch.setattr(lab_report, "load", lambda name, folder: attrs.evolve(load("glyphs"), name=name))
    checkpointed, calls = cli_runs.checkpointed, iter(range(9))

    def stopped(*arguments: Any, **options: Any) -> Iterator[Any]:
        place = next(calls)
        for record in checkpointed(*arguments, **options):
            if place == 1:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(cli_runs, "checkpointed", stopped)
    assert main(["lab-report", "glyphs", "mnist", "fashion-mnist", "--epochs", "1", "--out", str(tmp_path)]) == 130
    capsys.readouterr()
    assert main(["lab-report", "--resume", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "\nglyphs: 10,000 training" not in "\n" + output
    assert "mnist: 10,000 training" in output
    runs = [read_run(tmp_path / f"run-{name}.json") for name in ("glyphs", "mnist", "fashion-mnist")]
    assert [(run.epochs, run.ended) for run in runs] == [(1, "")] * 3
