import re
import subprocess
import sys
from pathlib import Path

import pytest

import funcnet

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def modules_after(code: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after running the code."""
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_funcnet_imports_nothing_yet() -> None:
    assert not {"numpy", "attrs"} & modules_after("import funcnet")


def test_a_training_script_imports_little() -> None:
    """Neither what only reports or downloads need, nor jaxtyping, which costs as much as NumPy."""
    loaded = modules_after("import funcnet as fn; [getattr(fn, name) for name in fn.__all__]")
    assert "numpy" in loaded
    late = {
        "matplotlib", "pooch", "tqdm", "requests", "jaxtyping", "PIL", "scipy", "cattrs", "jinja2", "rich", "typst",
        "threadpoolctl",
    }  # fmt: skip
    assert not late & loaded


def test_every_public_name_is_documented() -> None:
    public = [getattr(funcnet, name) for name in funcnet.__all__ if not name.startswith("_")]
    assert len(public) > 40
    assert [value for value in public if not value.__doc__] == []


@pytest.mark.parametrize("module", ["funcnet.training", "funcnet.examination", "funcnet.lab"])
def test_a_public_name_is_the_same_whatever_was_imported_before(module: str) -> None:
    """A submodule that bore the name of a function would hide it."""
    modules_after(f"import {module}, funcnet as fn; assert callable(fn.train) and callable(fn.examine)")


@pytest.mark.parametrize("script", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_scripts_of_the_readme_run(script: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "my-report" / "report.pdf").exists()


def test_the_readme_shows_a_script_of_about_ten_lines() -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in script.splitlines() if line.strip()]) <= 16


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_the_readme_has_the_two_commands_that_continuous_integration_runs() -> None:
    assert len(re.findall(r"^python3 -m venv ", README, re.MULTILINE)) == 2


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {funcnet.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
