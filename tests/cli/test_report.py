from pathlib import Path

import attrs
import pytest
from pypdf import PdfReader
from runs import run_record, whole_run

from funcnet.cli import main
from funcnet.cli import report as report_command
from funcnet.record import RunRecord
from funcnet.report.files import run_file_name
from funcnet.run_file import file_names, read_run, write_run


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def test_a_report_is_made_again_from_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, run = tmp_path / "out", whole_run("one")
    write_run(run, tmp_path / "run.json")
    assert report(tmp_path / "run.json", "--title", "Mine", "--out", out) == 0
    shown = capsys.readouterr().out
    for text in (
        "one",
        "Final Loss",
        "6.750",
        "rules that apply",
        "The total loss rose because a penalty did",
        "report.pdf",
    ):
        assert text in shown
    assert read_run(out / "run-one.json") == run
    assert PdfReader(out / "report.pdf").metadata.title == "Mine"


def test_a_folder_of_runs_is_compared(tmp_path: Path) -> None:
    """Its own report is made again in the same folder, and makes no new runs."""
    for seed in range(2):
        write_run(attrs.evolve(run_record(), seed=seed), tmp_path / f"run-{seed}.json")
    (tmp_path / "summary.json").write_text("[]")
    assert report(tmp_path, tmp_path / "run-1.json", "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## cifar-10: 2 runs" in text
    assert (tmp_path / "out" / "figures" / "cifar-10-comparison.png").exists()


def test_a_comparison_is_made_again_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven runs on one set, numbered: the tenth comes after the second. A run given twice counts once."""
    monkeypatch.setattr(report_command, "write_pages", lambda runs, out, title: seen.append(runs))
    seen: list[list[RunRecord]] = []
    runs = [attrs.evolve(run_record(), seed=seed) for seed in range(11)]
    for name, run in zip(file_names(runs), runs, strict=True):
        write_run(run, tmp_path / run_file_name(name))
    write_run(runs[3], tmp_path / "copy.json")
    assert report(tmp_path, tmp_path / "copy.json", "--out", tmp_path / "out") == 0
    assert seen == [runs]
    assert f"{tmp_path / 'copy.json'}: this run is there already." in capsys.readouterr().err


def test_runs_without_epochs_are_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(RunRecord("glyphs", seed=0), tmp_path / "run-a.json")
    assert report(tmp_path, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'run-a.json'}: no epoch was finished" in error
    assert "funcnet: error: a report needs at least one run with at least one epoch" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{}", "run.json: expected the JSON of a run"),
        ('{"format": "funcnet run", "version": 9}', "run.json: expected a run of version 1 to 3, found version 9"),
    ],
)
def test_a_file_that_cannot_be_read(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert report(tmp_path / "run.json", "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("funcnet: error: ")
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path, "--out", tmp_path / "out") == 1
    assert f"{tmp_path}: expected a folder with files called run*.json, found none" in capsys.readouterr().err


def test_an_output_folder_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report("run.json")
    assert stop.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_the_file_of_another_run_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = attrs.evolve(run_record(), command="python train.py")
    other = attrs.evolve(one, seed=8)
    for name, run in (("a", one), ("b", other)):
        (tmp_path / name).mkdir()
        write_run(run, tmp_path / name / "run.json")
    assert report(tmp_path / "a", "--out", tmp_path / "out") == 0
    assert report(tmp_path / "b", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "run-cifar-10.json holds another run (seed 7, 3 epochs, by python train.py), which would be lost" in error
    assert read_run(tmp_path / "out" / "run-cifar-10.json") == one
    write_run(attrs.evolve(one, history=one.history[:2]), tmp_path / "out" / "run-cifar-10.json")
    assert report(tmp_path / "a", "--out", tmp_path / "out") == 0  # the same run, further on
