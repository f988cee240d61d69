import attrs
import pytest
from runs import healthy_run, run_record, whole_run

from funcnet.record import RunRecord
from funcnet.report.document import Document, Heading, Paragraph, Plot, document, file_names
from funcnet.report.findings import Finding, findings, verdict
from funcnet.table import Table


def headings(content: Document) -> list[tuple[int, str]]:
    return [(block.level, block.text) for block in content.blocks if isinstance(block, Heading)]


def plots(content: Document) -> list[str]:
    return [block.name for block in content.blocks if isinstance(block, Plot)]


def tables(content: Document) -> list[str]:
    return [block.title for block in content.blocks if isinstance(block, Table)]


def test_one_run_in_full() -> None:
    run = whole_run("one")
    content = document([run], "A title")
    assert content.title == "A title"
    assert headings(content) == [
        (1, "one"), (2, "Findings"), (2, "Curves"), (2, "Answers, class by class"),
        (2, "Weights of the first layer"), (2, "How it was made"),
    ]  # fmt: skip
    assert plots(content) == [
        f"one-{name}"
        for name in (
            "loss", "parts", "accuracy", "rate", "norms", "updates", "confusion", "classes", "reliability", "mistakes",
            "weights",
        )
    ]  # fmt: skip
    assert tables(content) == [
        "one", "Most frequent mistakes", "Classes, in testing", "Settings", "Network, for one example", "Data",
        "Environment",
    ]  # fmt: skip
    found = [block for block in content.blocks if isinstance(block, Finding)]
    assert tuple(found) == findings(run)
    assert Paragraph(verdict(run)) in content.blocks


def test_every_plot_is_of_what_its_name_says() -> None:
    titles = {
        block.name.removeprefix("one-"): next(filter(None, (axes.get_title() for axes in block.draw().axes)), "")
        for block in document([whole_run("one")], "T").blocks
        if isinstance(block, Plot)
    }
    assert titles == {
        "loss": "Loss After Each Epoch", "parts": "What the Training Loss Is Made Of",
        "accuracy": "Accuracy After Each Epoch", "rate": "Learning Rate at Each Epoch's End",
        "norms": "Gradient Norms", "updates": "Update-to-Weight Ratio of a Step", "confusion": "Confusion Matrix",
        "classes": "Precision, Recall and F1 of Each Class",
        "reliability": "Reliability (expected calibration error 0.080)", "mistakes": "dog\nis US\\$ & <co>\n97%",
        "weights": "",
    }  # fmt: skip


def test_findings_come_before_everything_but_the_summary() -> None:
    blocks = document([whole_run()], "T").blocks
    kinds = [type(block) for block in blocks]
    assert kinds.index(Finding) < kinds.index(Plot)
    assert blocks.index(Heading("Findings", 2)) == 3


def test_a_healthy_run_has_a_line_and_no_finding() -> None:
    blocks = document([healthy_run()], "T").blocks
    assert not any(isinstance(block, Finding) for block in blocks)
    assert Paragraph(verdict(healthy_run())) in blocks


def test_a_record_of_losses_alone_makes_a_report_too() -> None:
    content = document([run_record()], "T")
    assert [text for _, text in headings(content)] == ["cifar-10", "Findings", "Curves", "How it was made"]
    assert tables(content) == ["cifar-10", "Settings"]


def test_runs_on_several_sets_are_summed_up_first() -> None:
    content = document([whole_run("one"), whole_run("two")], "T")
    assert isinstance(content.blocks[1], Table)
    assert content.blocks[1].title == "Runs"
    assert [text for level, text in headings(content) if level == 1] == ["one", "two"]
    assert len(set(plots(content))) == 22


def test_runs_on_one_set_are_compared() -> None:
    content = document([whole_run("one"), run_record("other"), attrs.evolve(whole_run("one"), seed=8)], "T")
    assert [text for level, text in headings(content) if level == 1] == ["one: 2 runs", "other"]
    assert [text for _, text in headings(content) if text.startswith("Run ")] == [
        "Run 1: one, seed 7",
        "Run 3: one, seed 8",
    ]
    assert plots(content)[0] == "one-comparison"


@pytest.mark.parametrize("runs", [[], [RunRecord("d", seed=0)], [run_record(), RunRecord("d", seed=0)]])
def test_nothing_to_report(runs: list[RunRecord]) -> None:
    with pytest.raises(ValueError, match="at least one run, each with at least one epoch"):
        document(runs, "T")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "A"], ["a", "a-2", "A-3"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["../a/b", "a\0b", "", ".", "..."], ["-a-b", "a-b", "-", "--2", "--3"]),
        (["x" * 300, "x" * 400], ["x" * 120, "x" * 120 + "-2"]),
        (["\u6570" * 90], ["\u6570" * 40]),
        (["größe 1"], ["größe-1"]),
    ],
)
def test_file_names_are_distinct_and_lead_nowhere(names: list[str], expected: list[str]) -> None:
    assert list(file_names([run_record(name) for name in names])) == expected


def test_names_that_differ_in_case_alone_are_two_files() -> None:
    """Also where the file system takes them for one."""
    assert file_names([run_record("A"), run_record("a")]) == ("A", "a-2")
