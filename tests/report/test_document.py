import attrs
import pytest
from runs import dated_run, healthy_run, run_record, whole_run

from funcnet.record import RunRecord
from funcnet.report.document import Document, Heading, Paragraph, Plot, document
from funcnet.report.findings import Finding, findings, verdict
from funcnet.run_file import file_names
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
        (1, "one"), (2, "Findings"), (2, "Curves"), (2, "Results by class"), (2, "Augmented training images"),
        (2, "Weights of the first layer"), (2, "Setup"),
    ]  # fmt: skip
    assert plots(content) == [
        f"one-{name}"
        for name in (
            "loss", "parts", "accuracy", "rate", "norms", "updates", "confusion", "classes", "reliability", "mistakes",
            "augmented", "weights",
        )
    ]  # fmt: skip
    assert tables(content) == [
        "Results after 3 epochs", "Most frequent mistakes", "Classes, in testing", "Settings",
        "Network, for one example", "Units of rectifying layers, in testing", "Data", "Environment",
    ]  # fmt: skip
    found = [block for block in content.blocks if isinstance(block, Finding)]
    assert tuple(found) == findings(run)
    assert Paragraph(verdict(run)) in content.blocks


def test_every_plot_is_of_what_its_name_says() -> None:
    titles = {}
    for block in document([whole_run("one")], "T").blocks:
        if isinstance(block, Plot):
            figure = block.draw()
            of_axes = (text for axes in figure.axes for text in (axes.get_title(), *(t.get_text() for t in axes.texts)))
            titles[block.name.removeprefix("one-")] = next(filter(None, (figure.get_suptitle(), *of_axes)), "")
    assert titles == {
        "loss": "Loss After Each Epoch", "parts": "Parts of the Training Loss",
        "accuracy": "Accuracy After Each Epoch", "rate": "Learning Rate at Each Epoch's End",
        "norms": "Gradient Norms", "updates": "Update-to-Weight Ratio of a Step", "confusion": "Confusion Matrix",
        "classes": "Precision, Recall and F1, Class by Class", "reliability": "Reliability",
        "mistakes": "dog\n(US\\$ & <co>)\n97%", "augmented": "", "weights": "",
    }  # fmt: skip


def test_no_caption_repeats_a_title_and_every_figure_has_its_alternative_text() -> None:
    for block in document([whole_run("one")], "T").blocks:
        if isinstance(block, Plot):
            titles = {axes.get_title() for axes in block.draw().axes} - {""}
            assert not any(title.casefold() in block.caption.casefold() for title in titles)
            assert block.caption.endswith(".")
            assert block.alt
            assert block.alt not in block.caption


def test_what_augmented_images_are_said_to_be() -> None:
    run = attrs.evolve(whole_run("one"), settings=(("augmentation", "flip(0.5), shift(4)"),))
    texts = [block.text for block in document([run], "T").blocks if isinstance(block, Paragraph)]
    assert any(
        "were augmented (flip(0.5), shift(4)), in each epoch in another way" in text and "in the first epoch." in text
        for text in texts
    )
    assert "one-augmented" not in plots(document([attrs.evolve(run, augmented=())], "T"))


def test_when_what_and_how_long() -> None:
    texts = [block.text for block in document([dated_run("one")], "T").blocks if isinstance(block, Paragraph)]
    assert texts[1] == (
        "A network of 39 parameters (flatten, linear(3)) was trained on one for 3 epochs, with seed 7. The run began "
        "on 2026-11-28, 10:15 (UTC+01:00). Its epochs took 1.5 s, of which 0.30 s training steps."
    )
    assert texts[2] == (
        "The data set one: tiny pictures. 100 examples in 3 classes are for training and 20 for testing. Origin: made "
        "by hand. Of the testing examples, 2 are in the training set too."
    )
    assert any(text.startswith("3 of 23 testing examples have no answer, because an output") for text in texts)


def test_a_gallery_is_explained_above_it() -> None:
    blocks = document([whole_run("one")], "T").blocks
    for key in ("mistakes", "weights"):
        place = next(k for k, b in enumerate(blocks) if isinstance(b, Plot) and b.name.endswith(key))
        assert isinstance(blocks[place - 1], Paragraph)


def test_curves_of_thousands_of_epochs_are_explained() -> None:
    said = "the axes of epochs are logarithmic"
    for epochs, there in ((300, False), (301, True)):
        blocks = document([run_record(epochs=epochs)], "T").blocks
        assert any(isinstance(b, Paragraph) and said in b.text for b in blocks) is there


def test_findings_come_before_everything_but_the_summary() -> None:
    blocks = document([whole_run()], "T").blocks
    kinds = [type(block) for block in blocks]
    assert kinds.index(Finding) < kinds.index(Plot)
    assert blocks.index(Heading("Findings", 2)) == 5


def test_a_healthy_run_has_a_line_and_no_finding() -> None:
    blocks = document([healthy_run()], "T").blocks
    assert not any(isinstance(block, Finding) for block in blocks)
    assert Paragraph(verdict(healthy_run())) in blocks


def test_a_record_of_losses_alone_makes_a_report_too() -> None:
    content = document([run_record()], "T")
    assert [text for _, text in headings(content)] == ["cifar-10", "Findings", "Curves", "Setup"]
    assert tables(content) == ["Results after 3 epochs", "Settings"]


def test_runs_on_several_sets_are_summed_up_first() -> None:
    content = document([whole_run("one"), whole_run("two")], "T")
    assert isinstance(content.blocks[1], Table)
    assert content.blocks[1].title == "Runs"
    assert [text for level, text in headings(content) if level == 1] == ["one", "two"]
    assert len(set(plots(content))) == 24


def test_runs_on_one_set_are_compared() -> None:
    content = document([whole_run("one"), run_record("other"), attrs.evolve(whole_run("one"), seed=8)], "T")
    assert [text for level, text in headings(content) if level == 1] == ["one: 2 runs", "other"]
    assert [text for _, text in headings(content) if text.startswith("Run ")] == [
        "Run 1: one, seed 7",
        "Run 3: one, seed 8",
    ]
    assert plots(content)[:3] == ["one-comparison", "one-confusion", "one-classes"]
    assert plots(content)[3:5] == ["one-2-confusion", "one-2-classes"]


def test_a_comparison_has_network_data_and_environment_once_for_all_runs_that_share_them() -> None:
    one = whole_run("one")
    other = attrs.evolve(one, seed=8, environment=(("NumPy", "9.9"),))
    titles = tables(document([one, attrs.evolve(one, seed=9), other], "T"))
    assert titles[-5:] == [
        "Network, for one example (runs 1, 2, 3)", "Units of rectifying layers, in testing (runs 1, 2, 3)",
        "Data (runs 1, 2, 3)", "Environment (runs 1, 2)", "Environment (run 3)",
    ]  # fmt: skip


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
