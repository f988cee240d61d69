import csv
import json
import math
from pathlib import Path

import attrs
import pytest
from PIL import Image
from runs import run_record, whole_run, with_end

from funcnet.record import RunRecord
from funcnet.report.files import summary, write_report
from funcnet.run_file import file_names, read_run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs, in a folder that was not there."""
    folder = tmp_path_factory.mktemp("files") / "deep" / "out"
    seen: list[Path] = []
    paths = write_report([whole_run("one"), run_record("two")], folder, "Mine", watch=seen.append)
    assert tuple(seen) == paths
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(paths)
    return folder


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The PDF and the HTML page take most of a report's time."""
    monkeypatch.setattr("funcnet.report.files.to_pdf", lambda content: b"")
    monkeypatch.setattr("funcnet.report.files.to_html_page", lambda content: "")


def test_everything_is_written(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "classes-one.csv", "figures", "history-one.csv", "history-two.csv", "loss-one.png", "loss-two.png",
        "report.html", "report.md", "report.pdf", "run-one.json", "run-two.json", "summary.json", "summary.md",
        "tables.tex",
    ]  # fmt: skip


def test_runs_are_kept_to_make_the_report_again(out: Path) -> None:
    assert read_run(out / "run-one.json") == whole_run("one")
    assert read_run(out / "run-two.json") == run_record("two")


def test_figures_stand_in_their_own_folder_where_the_markdown_looks_for_them(out: Path) -> None:
    text = (out / "report.md").read_text()
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert sorted(links) == sorted(f"figures/{path.name}" for path in (out / "figures").iterdir())
    for picture in (out / "loss-one.png", out / "figures" / "one-loss.png"):
        with Image.open(picture) as image:
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)


def test_the_summary_has_the_labs_tables(out: Path) -> None:
    text = (out / "summary.md").read_text()
    head = "|  | Final Loss | Cross-entropy | Penalty | Accuracy | 95% interval |"
    assert text.startswith(f"# Mine\n\n## one\n\n{head}\n")
    assert "| Testing | 7.250 | 1.000 | 6.250 | 0.450 | 0.258 to 0.658 |" in text
    assert "\n## two\n" in text


def test_tables_for_latex_and_histories_for_spreadsheets(out: Path) -> None:
    latex = (out / "tables.tex").read_text()
    assert latex.count("\\begin{table}") == latex.count("\\end{table}") == 11
    with (out / "history-one.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["training loss"]) for row in rows] == [e.loss for e in whole_run().train]
    with (out / "classes-one.csv").open(newline="") as file:
        assert [row["Class"] for row in csv.DictReader(file)] == ["cat", "dog", "US$ & <co>"]


def test_summary_json_has_the_numbers(out: Path) -> None:
    one, two = json.loads((out / "summary.json").read_text())
    assert one["dataset"] == "one"
    assert set(two) == {"dataset", "epochs", "seed", "history", "final"}
    assert (two["dataset"], two["epochs"], two["seed"]) == ("two", 3, 7)
    quantities = ("loss", "cross_entropy", "penalty", "accuracy")
    assert set(two["history"]) == {f"{part}_{q}" for part in ("train", "test") for q in quantities}
    assert two["history"]["train_loss"] == pytest.approx([3.75, 5, 6.75])
    assert two["history"]["test_cross_entropy"] == pytest.approx([3, 1.5, 1])
    assert two["history"]["test_penalty"] == pytest.approx([2.25, 4.25, 6.25])
    assert two["final"] == {
        part: {q: two["history"][f"{part}_{q}"][-1] for q in quantities} for part in ("train", "test")
    }


def test_what_is_not_a_number_is_null() -> None:
    run = run_record(epochs=1)
    (told,) = summary([with_end(run, test=attrs.evolve(run.test[0], accuracy=math.nan))])
    assert told["final"]["test"]["accuracy"] is None
    assert told["final"]["train"]["accuracy"] == 0.5


@pytest.mark.usefixtures("no_pages")
def test_a_failure_leaves_the_old_files_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself comes first: it is the new one, from which the rest can be made."""
    write_report([run_record()], tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}

    def fail(content: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr("funcnet.report.files.to_pdf", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report([run_record(epochs=2)], tmp_path)
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    assert [name for name in after if after[name] != before.get(name)] == ["run-cifar-10.json"]
    assert read_run(tmp_path / "run-cifar-10.json").epochs == 2


@pytest.mark.usefixtures("no_pages")
def test_names_that_lead_astray_stay_in_the_folder(tmp_path: Path) -> None:
    """A name of dots and slashes, of nothing that a file may be called, and one that is markup."""
    out = tmp_path / "out"
    paths = write_report([run_record("../a/b\0"), run_record("../A/b"), run_record("$a$ <b> " + "x" * 300)], out)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted(paths)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_texts_that_utf8_cannot_hold_do_not_stop_a_report(tmp_path: Path) -> None:
    """As arguments in another encoding than the locale's are."""
    bad = "\udcff\x1b[1m\ud800"
    run, made = whole_run(bad, epochs=1), tmp_path / "out"
    run = attrs.evolve(
        run, settings=((bad, bad),), command=bad, ended=bad, planned_epochs=9, environment=((bad, bad),),
        data=attrs.evolve(run.data, classes=(f"{bad}1", f"{bad}2", "")),
        layers=(attrs.evolve(run.layers[0], name=bad, path=bad),),
    )  # fmt: skip
    paths = write_report([run], made, bad)
    for path in paths:
        if path.suffix not in (".pdf", ".png"):
            content = path.read_text(encoding="utf-8").replace("\\textbackslash{}", "\\")
            assert "\\udcff" in content or path.name.startswith("history"), path
    (file,) = made.glob("run-*.json")
    assert read_run(file).dataset == "\\udcff\x1b[1m\\ud800"


def test_file_names_have_what_the_file_system_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert file_names([run_record("a µ猫 b"), run_record("µ")]) == ("a-b", "-")


def test_the_loss_goes_by_its_name() -> None:
    (told,) = summary([attrs.evolve(run_record(), loss_name="mean squared error")])
    assert "train_mean_squared_error" in told["history"]


@pytest.mark.parametrize("runs", [[], [RunRecord("d", seed=0)]])
def test_wrong_runs_are_refused(tmp_path: Path, runs: list[RunRecord]) -> None:
    with pytest.raises(ValueError, match="at least one run, each with at least one epoch"):
        write_report(runs, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_epochs_has_no_summary() -> None:
    with pytest.raises(ValueError, match="the run on d has no epochs to summarise"):
        summary([RunRecord("d", seed=0)])
