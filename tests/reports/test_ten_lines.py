"""The notebook is run as a reader would run it."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.mark.filterwarnings("ignore")  # of the machinery of notebooks
def test_the_notebook_runs_and_shows_what_it_should(tmp_path: Path) -> None:
    notebook = jupytext.read(REPORTS / "ten_lines.py")
    kernel = ExecutePreprocessor(timeout=300, kernel_name="python3")
    kernel.preprocess(notebook, {"metadata": {"path": tmp_path}})
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "stream" and output.name == "stderr"]
    pages = [output.data.get("text/html", "") for output in shown if "data" in output]
    assert any("<caption>glyphs, seed 0</caption>" in page for page in pages)
    assert any("<caption>Network, for one example</caption>" in page for page in pages)
    assert sum("image/png" in output.get("data", {}) for output in shown) == 4
    said = "".join(output.get("text", "") for output in shown)
    assert "rules that apply found anything wrong" in said
    assert "The total loss rose because a penalty did" in said
    assert "The l2 penalty of [1].weight does not respond to its own gradient" in said
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_kept_is_that_of_the_script() -> None:
    kept = nbformat.read(REPORTS / "ten_lines.ipynb", as_version=4)
    script = jupytext.read(REPORTS / "ten_lines.py")
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [(c.cell_type, c.source) for c in script.cells]
    assert all(cell.outputs for cell in kept.cells if cell.cell_type == "code" and "import" not in cell.source)
