import json
import math
from pathlib import Path

import attrs
import pytest
from PIL import Image
from runs import run_record

from funcnet.record import RunRecord
from funcnet.report.files import write_report


def test_everything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    paths = write_report([run_record("one"), run_record("two")], out, title="Mine")
    assert sorted(out.iterdir()) == sorted(paths)
    assert [p.name for p in paths] == ["report.pdf", "loss-one.png", "loss-two.png", "summary.md", "summary.json"]
    with Image.open(out / "loss-one.png") as picture:
        assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    text = (out / "summary.md").read_text()
    assert text.startswith("# Mine\n\n## one\n\n|  | Final Loss | Accuracy | Cross-entropy | Penalty |\n")
    assert "| Testing | 7.250 | 0.450 | 1.000 | 6.250 |" in text
    assert "\n## two\n" in text


def test_summary_json_has_the_numbers(tmp_path: Path) -> None:
    write_report([run_record()], tmp_path)
    (summary,) = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {"dataset", "epochs", "seed", "history", "final"}
    assert (summary["dataset"], summary["epochs"], summary["seed"]) == ("cifar-10", 3, 7)
    quantities = ("loss", "cross_entropy", "penalty", "accuracy")
    assert set(summary["history"]) == {f"{part}_{q}" for part in ("train", "test") for q in quantities}
    assert summary["history"]["train_loss"] == pytest.approx([3.75, 5, 6.75])
    assert summary["history"]["test_cross_entropy"] == pytest.approx([3, 1.5, 1])
    assert summary["history"]["test_penalty"] == pytest.approx([2.25, 4.25, 6.25])
    assert summary["final"] == {
        part: {q: summary["history"][f"{part}_{q}"][-1] for q in quantities} for part in ("train", "test")
    }


def test_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    run = run_record(epochs=1)
    write_report([attrs.evolve(run, test=(attrs.evolve(run.test[0], accuracy=math.nan),))], tmp_path)
    (summary,) = json.loads((tmp_path / "summary.json").read_text())
    assert summary["final"]["test"]["accuracy"] is None


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report([run_record()], tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(path: Path, title: str, runs: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("funcnet.report.files.write_pdf", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report([run_record(epochs=2)], tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["../a/b", "a\0b", "x" * 300, "$a$ b", ""])
def test_any_name_makes_a_file(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    paths = write_report([run_record(name)], out)
    assert sorted(out.iterdir()) == sorted(paths)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_loss_goes_by_its_name(tmp_path: Path) -> None:
    write_report([attrs.evolve(run_record(), loss_name="mean squared error")], tmp_path)
    (summary,) = json.loads((tmp_path / "summary.json").read_text())
    assert "train_mean_squared_error" in summary["history"]
    assert "cross" not in (tmp_path / "summary.md").read_text().casefold()


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "at least one run, each with at least one epoch"),
        ([RunRecord("d", seed=0)], "at least one run, each with at least one epoch"),
        ([run_record(), run_record()], "one run a data set, got cifar-10, cifar-10"),
    ],
)
def test_wrong_runs_are_refused(tmp_path: Path, runs: list[RunRecord], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(runs, tmp_path)
    assert list(tmp_path.iterdir()) == []
