"""Kills training runs at random moments and resumes them: the result must be that of a run that was never killed.

    python tests/endurance/kills.py --kills 50

A real process is killed (SIGKILL) and started again on its folder until it has finished, over and over, until there
were so many kills. Half of the kills come at a random time, half while a checkpoint is written. At the end of each run,
the parameters, the history and the report are compared with those of a run that was not killed: they must be the same,
bit for bit, but for dates and durations. Prints how many kills fell into which phase.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endurance.child import PHASES
from runs import timeless

from funcnet.report import read_run, write_report
from funcnet.version import __version__

_CHILD = Path(__file__).with_name("child.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    phases: Counter[str] = Counter()
    began, runs = time.monotonic(), 0
    draw = random.Random(options.seed)
    wanted = {kind: result(kind, []) for kind in ("lab", "script")}
    while phases.total() < options.kills:
        kind = ("lab", "script")[runs % 2]
        left = options.kills - phases.total()
        hits: list[str] = []
        assert result(kind, hits, draw, min(left, draw.randrange(3, 10))) == wanted[kind], (kind, hits)
        phases.update(hits)
        runs += 1
        print(f"{phases.total()} kills, {runs} runs finished, all as the run that was not killed", flush=True)
    print(
        f"funcnet {__version__}: {phases.total()} kills in {runs} runs, {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{count} {phase}" for phase, count in phases.most_common())
    )


def result(kind: str, hits: list[str], draw: random.Random | None = None, kills: int = 0) -> dict[str, str]:
    """The checksums of all that a run made, without dates and durations. ``hits`` gets the phase of each kill."""
    with tempfile.TemporaryDirectory() as place:
        folder, marks = Path(place, "run"), Path(place, "marks")
        folder.mkdir()
        while len(hits) < kills and draw is not None:
            # Killed later and later, so that the run comes to its end.
            wait = 0.4 + draw.random() * 1.5 * (1 + len(hits))
            phase = _killed(kind, folder, marks, wait, in_checkpoint=draw.random() < 0.5)
            if phase is None:
                break
            hits.append(phase)
        if not (folder / "model-glyphs.safetensors").exists() or (folder / "checkpoints" / "plan.json").exists():
            subprocess.run(_command(kind, folder, marks), check=True, capture_output=True)
        run = timeless(read_run(folder / "run-glyphs.json"))
        made = {"model": (folder / "model-glyphs.safetensors").read_bytes()}
        report = Path(place, "report")
        write_report([run], report)
        for path in sorted(report.rglob("*")):
            if path.suffix in (".json", ".csv", ".md", ".html", ".tex"):
                made[path.name] = path.read_bytes()
        return {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}


def _killed(kind: str, folder: Path, marks: Path, wait: float, *, in_checkpoint: bool) -> str | None:
    """The phase in which the run was killed; None where it had finished before."""
    process = subprocess.Popen(
        _command(kind, folder, marks), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + wait
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.0005)
    while in_checkpoint and process.poll() is None and PHASES[marks.read_bytes()[0]] != "writing a checkpoint":
        pass
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    error = process.communicate()[1]
    if process.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"{kind}: a run that was killed could not go on: {error}")
    return None if process.returncode == 0 else PHASES[marks.read_bytes()[0]]


def _command(kind: str, folder: Path, marks: Path) -> list[str]:
    marks.write_bytes(b"\0")
    return [sys.executable, str(_CHILD), kind, str(folder), str(marks)]


if __name__ == "__main__":
    main()
