"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path

__all__ = ["make_folder", "write_whole"]


def make_folder(path: Path) -> None:
    """Make the folder if it is not there, and see that files can be made in it.

    Raises:
        OSError: where they cannot, naming the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_whole(path: Path | str, content: bytes | str) -> None:
    """Write a file, replacing one of that name; whoever reads it sees the old content or the new, never a part.

    Raises:
        OSError: where it cannot be written; a file of that name is then as it was.
    """
    path = Path(path)
    unfinished = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        with unfinished.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # before the name: a power cut leaves the old content, not an empty file
        unfinished.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        unfinished.unlink(missing_ok=True)
