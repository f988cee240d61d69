"""Files and arguments that are wrong in any way: refused with a message, at once, and in little memory.

A fixed sample of them. ``FUNCNET_FUZZ=20000 pytest tests/fuzz`` takes so many for each reader and each command, other
ones in every call.
"""

import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from readers import READERS

from funcnet.cli import main
from funcnet.data import registry
from funcnet.data.batches import normalization
from funcnet.data.dataset import DataError, Dataset, Split, hold_out
from funcnet.random import make_key
from funcnet.record import data_facts

LONG = "FUNCNET_FUZZ" in os.environ
COUNT = int(os.environ.get("FUNCNET_FUZZ", "100"))
SEED = random.SystemRandom().randrange(2**32) if LONG else 0
SECONDS, MEMORY = 20, 1 << 29


@contextmanager
def limits() -> Iterator[None]:
    """A context that ends what takes too long or more than half a gigabyte of memory."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        if pages is not None:
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.usefixtures("as_users_run")
def test_a_changed_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    draw = random.Random(f"{SEED} {name}")
    path = tmp_path / "file"
    refused = 0
    for number in range(COUNT):
        content = reader.change(draw, draw.choice(reader.seeds)) if number else reader.seeds[0]
        path.write_bytes(content)
        try:
            with limits():
                reader.read(path)
        except reader.refuses:
            refused += 1
        except BaseException as error:
            error.add_note(f"{name}: input {number} of seed {SEED}: {content[:200]!r} ({len(content)} bytes)")
            raise
    assert 0 < refused < COUNT


@pytest.mark.parametrize("name", READERS)
def test_what_the_changes_begin_with_is_read(name: str, tmp_path: Path) -> None:
    for content in READERS[name].seeds:
        (tmp_path / "file").write_bytes(content)
        if name != "archive":  # which is packed first
            READERS[name].read(tmp_path / "file")


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(st.integers(0, 9), max_size=3), st.lists(st.lists(st.floats(), max_size=2), max_size=2),
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)),
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=5, max_side=9)),
    arrays.arrays(object, 2, elements=st.integers()),
)  # fmt: skip
REFUSED = (DataError, TypeError, ValueError)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("as_users_run")
@settings(max_examples=COUNT, derandomize=not LONG)
@given(anything, anything, anything, anything)
def test_anything_as_data_is_taken_or_refused(x: object, y: object, z: object, classes: object) -> None:
    try:
        train = Split(x, y)
        test = Split(z, y)
    except REFUSED:
        return
    for call in (
        lambda: data_facts(Dataset("d", train, test, classes)),
        lambda: data_facts(hold_out(Dataset("d", train, train, ()), 1, make_key(0))),
        lambda: normalization(train.x),
    ):
        with suppress(*REFUSED):
            call()


paths = st.sampled_from(
    [
        ".",
        "~",
        "~nobody",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "a\0b",
        "x" * 300,
        "",
        "/",
        "pipe",
        "file",
        "empty",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = st.sampled_from(
    ["report", "lab-report", "doctor", "--data", "--out", "--title", "--epochs", "--seed", "--help", "mnist",
     "cifar-10", "--", "--version", "-1", "0", "1e9", "nan", "18446744073709551616", "9" * 5000]
) | paths  # fmt: skip
commands = st.one_of(
    st.tuples(st.just("report"), st.lists(paths, min_size=1, max_size=2), st.just("--out"), st.just("out")),
    st.tuples(st.just("lab-report"), st.just("mnist"), st.just("--data"), paths, st.just("--out"), paths),
    st.lists(words, max_size=5).filter(lambda w: not {"glyphs", "check", "doctor"} & set(w) and w[:1] != ["check"]),
)


@pytest.mark.usefixtures("as_users_run")
def test_any_arguments_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end with a status, not with a traceback. No data set is on this machine, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FUNCNET_DATA", raising=False)
    for name, source in registry._SOURCES.items():
        monkeypatch.setitem(registry._SOURCES, name, attrs.evolve(source, base="http://127.0.0.1:9/"))
    monkeypatch.setattr(registry, "glyphs_dataset", lambda key: pytest.fail("nothing is to be trained"))
    os.mkfifo("pipe")
    Path("file").write_text("no run")
    Path("empty").mkdir()

    @settings(max_examples=COUNT // 4, derandomize=not LONG)
    @given(commands)
    def run(command: object) -> None:
        arguments = [word for part in command for word in (part if isinstance(part, list) else [part])]
        if "lab-report" in arguments[:1] and not {"mnist", "cifar-10"} & set(arguments):
            arguments.append("mnist")
        with limits():
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = ended.code
        assert status in {0, 1, 2}
        capsys.readouterr()

    run()
