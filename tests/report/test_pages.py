from pathlib import Path

import attrs
import pytest
from pypdf import PdfReader
from runs import run_record

from funcnet.report.pages import write_pdf


def test_the_pages_and_their_text(tmp_path: Path) -> None:
    write_pdf(tmp_path / "report.pdf", "A title", [run_record("one"), run_record("two")])
    pdf = PdfReader(tmp_path / "report.pdf")
    assert pdf.metadata.title == "A title"
    first, one, two = (page.extract_text() for page in pdf.pages)
    for text in ("A title", "one", "two", "Final Loss", "Training", "6.750", "Testing", "0.450"):
        assert text in first
    for name, page in (("one", one), ("two", two)):
        for text in (name, "Loss After Each Epoch", "Epochs", "l2 penalty of [3].weight", "Settings", "linear(8)"):
            assert text in page


def test_a_long_title_takes_two_lines(tmp_path: Path) -> None:
    write_pdf(tmp_path / "report.pdf", "A report with a title that is rather long", [run_record()])
    lines = PdfReader(tmp_path / "report.pdf").pages[0].extract_text().splitlines()
    assert {"A report with a title that is rather", "long"} < set(lines)


@pytest.mark.parametrize(("runs", "pages"), [(1, 2), (6, 7), (7, 9)])
def test_many_runs_make_more_pages(tmp_path: Path, runs: int, pages: int) -> None:
    write_pdf(tmp_path / "report.pdf", "T", [run_record(f"set {i}") for i in range(runs)])
    assert len(PdfReader(tmp_path / "report.pdf").pages) == pages


def test_the_pages_are_vector_graphics(tmp_path: Path) -> None:
    write_pdf(tmp_path / "report.pdf", "T", [run_record()])
    assert not any(page.images for page in PdfReader(tmp_path / "report.pdf").pages)


def test_many_settings_get_a_page_of_their_own(tmp_path: Path) -> None:
    settings = tuple((f"setting {i}", "a long value " * 12) for i in range(8))
    write_pdf(tmp_path / "report.pdf", "T", [attrs.evolve(run_record(), settings=settings)])
    pages = [page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages]
    assert len(pages) == 3
    assert "Settings" not in pages[1]
    assert "setting 7" in pages[2]
