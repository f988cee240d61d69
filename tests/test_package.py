import re
import subprocess
import sys
from pathlib import Path

import pytest

import funcnet

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_importing_funcnet_imports_little() -> None:
    """Neither what only reports or downloads need, nor jaxtyping, which costs as much as NumPy."""
    code = "import funcnet, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "numpy" in loaded
    late = {
        "matplotlib", "pooch", "tqdm", "requests", "jaxtyping", "PIL", "scipy", "cattrs", "jinja2", "rich", "typst",
        "threadpoolctl",
    }  # fmt: skip
    assert not late & set(loaded)


def test_every_public_name_is_documented() -> None:
    # jaxtyping's import hook, which the tests use, leaves its own name in every module.
    public = [value for name, value in vars(funcnet).items() if not name.startswith("_") and name != "jaxtyping"]
    assert len(public) > 40
    assert [value for value in public if not value.__doc__] == []


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
