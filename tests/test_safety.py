"""No file that the package reads can run code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "funcnet"
MODULES = sorted(PACKAGE.rglob("*.py"))
# What makes code of bytes, and what reads its files with that.
BANNED_MODULES = {"cloudpickle", "code", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}
BANNED_NAMES = {"__import__", "compile", "eval", "exec", "execfile"}
# `funcnet check MODULE:NAME` imports what its user names on the command line.
IMPORTS_BY_NAME = {"cli/check.py"}


def faults(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in BANNED_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Name) and node.id in BANNED_NAMES:
            found.append(node.id)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += ["import_module"] * (not isinstance(node.args[0], ast.Constant))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_makes_code_of_what_it_reads(module: Path) -> None:
    allowed = {"import_module"} if module.relative_to(PACKAGE).as_posix() in IMPORTS_BY_NAME else set()
    assert set(faults(module.read_text(encoding="utf-8"))) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import load", "import marshal as m", "eval('1')", "f = exec", "import dill.x",
        "numpy.load(f, allow_pickle=True)", "importlib.import_module(name)", "def f():\n    import shelve",
    ],
)  # fmt: skip
def test_what_would_be_found(source: str) -> None:
    assert faults(source)


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
import funcnet as fn
from funcnet.run_file import read_run, write_run

data = fn.load("glyphs")
net = fn.chain(fn.flatten(), fn.linear(10))
state = fn.init_state(net.init(fn.make_key(0), data.train.in_shape)[0], fn.sgd(0.1), fn.make_key(1))
run = fn.new_run(net, data, seed=0)
fn.save_checkpoint("folder", fn.Checkpoint(state, run))
fn.save_model("model", fn.make_model(net, state.params, data, run))
write_run(run, "run")
np.savez_compressed("arrays.npz", x=data.test.x, y=data.test.y)
for place in range(4):
    folder = Path("images", "ab"[place % 2])
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "jpg", "gif", "bmp", "webp", "ppm"):
        Image.fromarray(data.test.x[place]).save(folder / f"{place}.{ending}")

def read():
    fn.load_checkpoint("folder", state), fn.load_model("model"), read_run("run")
    fn.load("arrays.npz"), fn.load("images")

read()  # imports what it needs, and makes the readers of the records
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event))
read()
print(*sorted(set(seen)))
"""


def test_reading_runs_nothing(tmp_path: Path) -> None:
    """As Python itself tells: no code is made or run, nothing is imported or unpickled, no process is started."""
    said = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True, capture_output=True, text=True)
    events = set(said.stdout.split())
    assert "open" in events
    assert not {
        event for event in events if event.startswith(("compile", "exec", "import", "marshal", "pickle", "sub"))
    }
