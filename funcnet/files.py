"""Files: read if they are files, written whole or not at all; and folders that one process at a time writes to."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

__all__ = [
    "FolderInUseError",
    "lock_folder",
    "make_folder",
    "open_file",
    "read_whole",
    "remove_unfinished",
    "write_whole",
]

_UNFINISHED = re.compile(r"\.(\d+)-\d+-.")
_LOCK = ".funcnet-lock"
_OTHERS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


def open_file(path: Path | str) -> BufferedReader:
    """Open a file to read its bytes. Whoever opens a pipe or a device might wait for ever, so these are refused.

    Raises:
        OSError: where there is no such file, it cannot be read, or it is a folder, a pipe, a socket or a device.
    """
    try:
        _expect_regular(Path(path).stat(), path)  # before it is opened: to open a device may do something to it
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise _no_name(path, "a file") from None
    file = open(opened, "rb")  # noqa: PTH123, SIM115
    try:
        _expect_regular(os.fstat(opened), path)  # it may have been replaced meanwhile
    except OSError:
        file.close()
        raise
    return file


def read_whole(path: Path | str) -> bytes:
    """The content of a file.

    Raises:
        OSError: as ``open_file``.
    """
    with open_file(path) as file:
        return file.read()


def _expect_regular(found: os.stat_result, path: Path | str) -> None:
    for is_one, name in _OTHERS:
        if is_one(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {name}, not a file", str(path))


class FolderInUseError(OSError):
    """Another run writes to the folder."""


def make_folder(path: Path) -> None:
    """Make the folder if it is not there, and see that files can be made in it.

    Raises:
        OSError: where they cannot, naming the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    except ValueError:
        raise _no_name(path, "a folder") from None
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_whole(path: Path | str, content: bytes | str) -> None:
    """Write a file, replacing one of that name; whoever reads it sees the old content or the new, never a part.

    On return the new content is on the disk, under its name, and a power cut does not lose it.

    Raises:
        OSError: where it cannot be written; a file of that name is then as it was.
    """
    path, content = Path(path), content.encode() if isinstance(content, str) else content
    unfinished = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # before the name: a power cut leaves the old content, not an empty file
        unfinished.replace(path)
        _sync_folder(path.parent)
    except ValueError:
        raise _no_name(path, "a file") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(ValueError):
            unfinished.unlink(missing_ok=True)


def _no_name(path: Path | str, kind: str) -> OSError:
    """The error of a null byte, or of letters that no name has."""
    return OSError(errno.EINVAL, f"it cannot be the name of {kind}", f"{path!s:.200}")


def _sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system has a way."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # a folder that may be written to, but not read
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no such thing
            raise
    finally:
        os.close(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove what ``write_whole`` left in a folder in processes that were killed.

    Raises:
        OSError: where it cannot be removed.
    """
    for path in folder.iterdir():
        if (found := _UNFINISHED.match(path.name)) and not _is_running(int(found[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere there is no signal that only asks
    try:
        os.kill(process, 0)
    except PermissionError:
        return True  # somebody else's
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """A context in which no other run that locks the folder writes to it. The folder is made if it is not there.

    The lock ends with the process, however that ends. What writers that were killed left unfinished is removed. On a
    system without ``fcntl`` nothing is locked.

    Raises:
        FolderInUseError: where another run has locked it, naming the folder and the process.
        OSError: where no files can be made in the folder.
    """
    make_folder(folder)
    path = folder / _LOCK
    file = _locked_file(path)
    try:
        remove_unfinished(folder)
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # before the lock ends: afterwards the file may be another run's
            os.close(file)


def _locked_file(path: Path) -> int | None:
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    os.truncate(file, 0)
                    os.write(file, str(os.getpid()).encode())
                    return file
        except BlockingIOError:
            owner = os.read(file, 20).decode(errors="replace") or "of another run"
            os.close(file)
            raise FolderInUseError(
                f"{path.parent}: process {owner} writes to this folder. Wait for it to end, or name another folder."
            ) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its owner removed it between the two calls: the next one makes another
