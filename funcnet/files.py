"""Files: read if they are files, written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

__all__ = ["make_folder", "open_file", "write_whole"]

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


def _expect_regular(found: os.stat_result, path: Path | str) -> None:
    for is_one, name in _OTHERS:
        if is_one(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {name}, not a file", str(path))


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
