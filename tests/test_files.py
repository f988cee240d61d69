import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from funcnet.files import make_folder, open_file, write_whole


def test_text_and_bytes(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "é\n")
    write_whole(str(tmp_path / "b"), b"\r\n")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == ("é\n".encode(), b"\r\n")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "a longer text")
    write_whole(tmp_path / "a", "short")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "short")]


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_no_rest(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    if where == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    content = object() if where == "write" else "new"
    with pytest.raises((OSError, TypeError)):
        write_whole(tmp_path / "a", content)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_threads_may_write_one_file(tmp_path: Path) -> None:
    """Whoever reads it sees what one of them wrote."""

    def write_and_read(letter: str) -> set[str]:
        seen = set()
        for _ in range(50):
            write_whole(tmp_path / "a", letter * 10_000)
            seen.add((tmp_path / "a").read_text())
        return seen

    with ThreadPoolExecutor(4) as threads:
        seen = set().union(*threads.map(write_and_read, "abcd"))
    assert seen <= {letter * 10_000 for letter in "abcd"}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a", "x")


def test_a_folder_that_nothing_can_be_made_in_is_named() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no folder in which nobody may make files")
    with pytest.raises(OSError, match=r"'/proc/self'"):
        make_folder(Path("/proc/self"))


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no/such") as error:
        write_whole(tmp_path / "no" / "such", "text")
    assert error.value.filename == str(tmp_path / "no" / "such")


def test_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_file(tmp_path / name) as file:
            assert file.read() == b"content"


def make_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a pipe"),
        (make_socket, "a socket"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
    ids=["pipe", "socket", "folder", "device"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has at most 107 letters
    make(Path("it"))
    with pytest.raises(OSError, match=f"it is {what}, not a file: 'it'"):
        open_file("it")


def test_a_file_that_becomes_a_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the opening."""
    path = tmp_path / "it"
    path.touch()
    looked = Path.stat

    def replaced(self: Path) -> os.stat_result:
        found = looked(self)
        self.unlink()
        os.mkfifo(self)
        return found

    monkeypatch.setattr(Path, "stat", replaced)
    with pytest.raises(OSError, match="it is a pipe, not a file"):
        open_file(path)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_has(name: str) -> None:
    for call in (open_file, lambda name: write_whole(name, b"")):
        with pytest.raises(OSError, match="it cannot be the name of a file"):
            call(name)
    with pytest.raises(OSError, match="it cannot be the name of a folder"):
        make_folder(Path(name))
