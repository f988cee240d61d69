import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from funcnet.check.suite import subjects
from funcnet.cli import main

MINE = """
import numpy as np
from funcnet import Layer

def _scale(sign):
    return Layer(
        "scale",
        lambda key, shape: ((), shape),
        lambda params, x: (3 * x, None),
        lambda params, residuals, dy, need_dx=True: ((), sign * 3 * dy),
    )

right, wrong = _scale(1), _scale(-1)
number = 3

def made():
    return right

broken = Layer("broken", lambda key, shape: ((), shape), lambda params, x: 1 / 0, None)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_layers.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_layers", raising=False)
    return "my_layers"


pytestmark = pytest.mark.usefixtures("as_users_run")


def test_the_whole_library_as_installed() -> None:
    """In a process of its own, where nothing is watched or slowed down; the README's figure has 1,000 for each."""
    done = subprocess.run(
        [sys.executable, "-m", "funcnet", "check", "--configurations", "2", "--seed", "3"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "NumPy" in lines[0]
    assert [line.split()[-1] for line in lines if line.startswith("linear(1)")] == ["held"]
    assert any(line.startswith("all") and line.endswith(f"0 of {len(subjects())} refuted or failed") for line in lines)


def test_a_layer_of_ones_own(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{mine}:right", f"{mine}:made", "--configurations", "4"]) == 0
    assert capsys.readouterr().out.count("held") == 2
    assert main(["check", f"{mine}:wrong", "--in-shape", "2,3", "--configurations", "4"]) == 1
    shown = capsys.readouterr().out
    assert "REFUTED" in shown
    assert "likely    a flipped sign" in shown
    assert "again     check_layer(scale, (2, 3), batch=" in shown
    assert "1 of 1 refuted or failed" in shown


def test_an_error_of_the_layer_is_shown_with_its_traceback(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{mine}:broken", f"{mine}:right", "--configurations", "2"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "ZeroDivisionError" in shown
    assert "raised while checking broken" in shown
    assert "held" in shown  # and the next one has its turn


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_layers:nothing", "my_layers:nothing: AttributeError: module 'my_layers' has no attribute 'nothing'"),
        ("no_such_module:layer", "No module named 'no_such_module'"),
        ("my_layers:number", "only layers, losses, penalties and optimizers can be proven, got 3"),
        ("my_layers", "expected MODULE:NAME, such as mylayers:scale, got 'my_layers'"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(mine: str, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("shape", ["0,2", "a", "-1"])
def test_a_wrong_shape_is_refused(mine: str, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", f"{mine}:right", f"--in-shape={shape}"])
    assert caught.value.code == 2
    assert "expected lengths such as 28,28" in capsys.readouterr().err


def test_ctrl_c_shows_what_was_done() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "funcnet", "check", "--configurations", "100"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("linear(3)"):
                process.send_signal(signal.SIGINT)
                break
        output, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f" of {len(subjects())} refuted or failed" not in output
    assert re.search(r"Stopped by Ctrl-C; \d+ subjects were not begun", error)
    assert "Traceback" not in error


def test_a_shape_of_nothing_that_is_named_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--in-shape", "5"]) == 2
    assert "--in-shape is the shape of an example for what MODULE:NAME names" in capsys.readouterr().err
