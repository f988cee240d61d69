import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from funcnet.files import FolderInUseError, lock_folder, make_folder, open_file, remove_unfinished, write_whole


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


def test_the_name_is_brought_to_the_disk_after_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def note(file: int) -> None:
        synced.append((os.fstat(file).st_ino, (tmp_path / "a").exists()))

    monkeypatch.setattr("os.fsync", note)
    write_whole(tmp_path / "a", "x")
    assert synced == [((tmp_path / "a").stat().st_ino, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_whose_folders_cannot_be_synced(
    number: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fail_for_folders(file: int) -> None:
        if os.path.samestat(os.fstat(file), tmp_path.stat()):
            raise OSError(number, os.strerror(number))
        sync(file)

    monkeypatch.setattr("os.fsync", fail_for_folders)
    if passes:
        write_whole(tmp_path / "a", "x")
    else:
        with pytest.raises(OSError, match=str(tmp_path / "a")):
            write_whole(tmp_path / "a", "x")


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = ended_process()
    kept = [f".{os.getpid()}-5-run.json", f"{dead}-5-run.json", f".{dead}-run.json", f".{dead}-5-", ".hidden", "a"]
    for name in (*kept, f".{dead}-140000000-run.json", f".{10**30}-5-x"):
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_writer_that_was_killed_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    script = (
        "import os, sys; from funcnet.files import write_whole;"
        "os.fsync = lambda file: os.kill(os.getpid(), 9); write_whole(sys.argv[1], 'new')"
    )
    write_whole(tmp_path / "a", "old")
    killed = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with lock_folder(tmp_path):
        pass
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


# --- locks

HOLD = """
import pathlib, sys
from funcnet.files import lock_folder
with lock_folder(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    input()
"""


def held(folder: Path) -> "subprocess.Popen[str]":
    """A process that has locked the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_folder_that_another_process_writes_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with held(folder) as process:
        for _ in range(2):
            with pytest.raises(FolderInUseError) as error, lock_folder(folder):
                pytest.fail("the folder was locked twice")
            assert str(error.value) == (
                f"{folder}: process {process.pid} writes to this folder. Wait for it to end, or name another folder."
            )
        with lock_folder(tmp_path):  # another folder
            pass
        process.communicate("\n")
    with lock_folder(folder):
        pass
    assert list(folder.iterdir()) == []


def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        process.kill()
    assert [path.name for path in tmp_path.iterdir()] == [".funcnet-lock"]
    with lock_folder(tmp_path), pytest.raises(FolderInUseError, match=f"process {os.getpid()} "), lock_folder(tmp_path):
        pytest.fail("the folder was locked twice")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), lock_folder(tmp_path):
            raise KeyboardInterrupt


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"), lock_folder(tmp_path / "file"):
        pass


def _count_alone(folder: Path, rounds: int) -> int:
    """Adds 1 to the number in a file, in two steps that another process must not come between; how often it could."""
    done = 0
    for _ in range(rounds):
        try:
            with lock_folder(folder):
                count = int((folder / "count").read_text())
                (folder / "count").write_text(str(count + 1))
                done += 1
        except FolderInUseError:
            pass
    return done


def test_no_two_processes_are_within_at_once(tmp_path: Path) -> None:
    """Also where one lets go and removes the file while another waits for it."""
    (tmp_path / "count").write_text("0")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        done = pool.starmap(_count_alone, [(tmp_path, 200)] * 3)
    assert min(done) > 0
    assert int((tmp_path / "count").read_text()) == sum(done)


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


def test_without_fcntl_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []
