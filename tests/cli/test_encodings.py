"""The commands in processes of their own, with output and names that the locale's encoding cannot hold."""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from rich.cells import cell_len
from runs import whole_run

from funcnet.run_file import write_run

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOCALES = [ASCII, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1:strict"}]


def funcnet(folder: Path, settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "funcnet", *arguments],
        capture_output=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def test_a_report_with_names_beyond_the_encoding(tmp_path: Path) -> None:
    run = whole_run("µ猫", epochs=1)
    run = attrs.evolve(run, ended="猫", planned_epochs=9, data=attrs.evolve(run.data, classes=("猫", "犬", "cat")))
    folder = tmp_path / "µ猫"
    folder.mkdir()
    write_run(run, folder / "run-a.json")
    done = funcnet(tmp_path, {**ASCII, "COLUMNS": "40"}, "report", "µ猫", "--title", "µ猫 it", "--out", "out-µ")
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode("ascii")
    assert r"\xb5\u732b" in said
    assert [line for line in said.splitlines() if cell_len(line) > 40 and len(line.split()) > 1] == []
    page = (tmp_path / "out-µ" / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# µ猫 it\n")
    assert "shown there by their numbers: 0 = 猫, 1 = 犬." in page


@pytest.mark.parametrize("settings", LOCALES)
def test_errors_with_names_beyond_the_encoding(settings: dict[str, str], tmp_path: Path) -> None:
    for arguments, status in (
        (("report", "nowhere-猫", "--out", "x"), 1),
        (("lab-report", "猫"), 2),
        (("猫",), 2),
    ):
        done = funcnet(tmp_path, settings, *arguments)
        assert done.returncode == status
        assert b"error: " in done.stderr


@pytest.mark.parametrize("name", ["猫:犬", "os:猫"])
def test_what_cannot_be_imported_for_its_name(name: str, tmp_path: Path) -> None:
    done = funcnet(tmp_path, ASCII, "check", name)
    assert done.returncode == 2
    assert b"funcnet: error: " in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("width", [20, 40])
def test_a_narrow_terminal(width: int, tmp_path: Path) -> None:
    """Of a terminal itself, without COLUMNS. Each line of a progress bar and of what is said fits."""
    import fcntl
    import pty
    import re
    import struct
    import termios

    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    settings = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.Popen(
        [sys.executable, "-m", "funcnet", "check", "--configurations", "2", "funcnet:relu"],
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=tmp_path,
        env={**settings, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(terminal)
    said = b""
    try:
        while part := os.read(control, 4096):
            said += part
    except OSError:  # so does Linux say that it was the end
        pass
    assert done.wait() == 0
    shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said.decode())
    assert "relu: held" in shown
    assert max(map(len, re.split("[\r\n]+", shown))) <= width
