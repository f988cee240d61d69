"""Every ``python`` block of the documentation runs. The blocks of one page are one program, in order.

The commands in ``sh`` blocks of docs/ come after it, in the folder that it leaves.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from funcnet.check.registry import LAYERS, LOSSES, OPTIMIZERS, PENALTIES

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
MARKDOWN = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"]


def program_of(page: Path, language: str = "python") -> str:
    """The page with all lines but those of such blocks left empty: line numbers in errors are the page's own.

    A block in a list is indented as the list is.
    """
    lines, inside, indent = [], False, ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if fence := re.fullmatch(r"( *)```(\w*)", line):
            indent, inside = fence[1], fence[2] == language
            lines.append("")
        else:
            lines.append(line.removeprefix(indent) if inside else "")
    return "\n".join(lines)


def paths_linked_from(page: Path) -> list[str]:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [link for link in links if "://" not in link]


def test_there_are_pages() -> None:
    assert len(PAGES) > 8


@pytest.mark.parametrize("page", [page for page in PAGES if program_of(page).strip()], ids=lambda page: page.name)
def test_the_programs_of_the_pages_run(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem.replace('-', '_').lower()}_page.py"
    script.write_text(program_of(page), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    commands = [shlex.split(line) for line in program_of(page, "sh").splitlines() if line.startswith("funcnet ")]
    for _, *arguments in commands:
        made = subprocess.run(
            [sys.executable, "-W", "error", "-m", "funcnet", *arguments],
            cwd=tmp_path, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in paths_linked_from(page) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_readme_links_to_each_page(page: Path) -> None:
    assert page.relative_to(ROOT).as_posix() in paths_linked_from(ROOT / "README.md")


REGISTERED = sorted(
    {
        re.split(r"[(, ]", name)[0]
        for name in (
            *(entry.layer.name for entry in LAYERS),
            *(entry.optimizer.name for entry in OPTIMIZERS),
            *(loss.loss.name.lower().replace(" ", "_").replace("-", "_") for loss in LOSSES),
            *(penalty.name for penalty in PENALTIES),
        )
    }
    - {"compose"}
)


@pytest.mark.parametrize("name", REGISTERED)
def test_the_docs_name_everything_in_the_registry(name: str) -> None:
    """As code, on a page of docs/."""
    assert any(re.search(rf"`(fn\.)?{name}\b", page.read_text(encoding="utf-8")) for page in PAGES)
