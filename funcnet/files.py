"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

__all__ = ["write_whole"]


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
    finally:
        unfinished.unlink(missing_ok=True)
