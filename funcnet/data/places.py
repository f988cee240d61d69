"""Where data sets lie: folders and files are found by the names that people give them.

Capital letters, and marks between words, make no difference: ``Fashion-MNIST``, ``fashion_mnist`` and ``FashionMNIST``
are one name, and so are ``train-images-idx3-ubyte`` and ``train-images.idx3-ubyte``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from funcnet.data.dataset import DataError

__all__ = ["data_folders", "files_in", "folders_in", "is_called"]

_NAME_ONE = "Name a folder with --data or FUNCNET_DATA."


def data_folders(named: Path | str | None) -> Iterator[Path]:
    """The folders to look in: the one named, the one that FUNCNET_DATA names, and the cache folder.

    Raises:
        DataError: where one that is named cannot be used, or there is none.
    """
    none = True
    for how, path in (("the folder", named), ("FUNCNET_DATA", os.environ.get("FUNCNET_DATA"))):
        if path:
            yield _named(how, path)
            none = False
    import platformdirs  # imported where it is needed

    try:
        cache = platformdirs.user_cache_path("funcnet")
    except RuntimeError:  # so do some releases; others return a path that is not absolute
        cache = Path()
    if cache.is_absolute():
        yield cache
    elif none:
        raise DataError(f"there is no folder to look for data in, since the home folder is not known. {_NAME_ONE}")


def _named(how: str, path: Path | str) -> Path:
    try:
        folder = Path(path).expanduser()
        os.scandir(folder).close()
    except RuntimeError:
        raise DataError(f"{how} {path}: the home folder, for which ~ stands, is not known. {_NAME_ONE}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte, or letters that no name has
        missing = isinstance(error, FileNotFoundError)
        said = (
            "there is no such folder" if missing else f"it cannot be read ({getattr(error, 'strerror', '') or error})"
        )
        absolute = Path(path).expanduser().absolute()  # a relative one may be meant from elsewhere
        raise DataError(f"{how} {absolute!s:.400}: {said}. {_NAME_ONE}") from None
    return folder


def folders_in(folder: Path, name: str) -> Iterator[Path]:
    """The folders of that name, which may be a path of two, in a folder."""
    first, _, rest = name.partition("/")
    for entry, is_folder in _entries(folder, first):
        if is_folder and _plain(entry.name) == _plain(first):
            yield from folders_in(entry, rest) if rest else [entry]


def is_called(folder: Path, names: Iterable[str]) -> bool:
    """Whether the path of a folder ends in one of the names."""
    parts = [_plain(part) for part in folder.absolute().parts]
    return any(parts[-name.count("/") - 1 :] == [_plain(part) for part in name.split("/")] for name in names)


def files_in(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """For each of the names, the file in the folder, plain or packed, if there is one."""
    found: dict[str, Path] = {}
    wanted = {_plain(name): name for name in names}
    for entry, is_folder in _entries(folder, *wanted.values()):
        name = wanted.get(_plain(entry.name))
        if name is not None and not is_folder:
            found.setdefault(name, entry)
    return found


def _entries(folder: Path, *official: str) -> list[tuple[Path, bool]]:
    """What is in a folder, and whether that is a folder: first what has an official name, then plain files."""
    try:
        entries = sorted(folder.iterdir(), key=lambda p: (p.name not in official, p.suffix.lower() == ".gz", p.name))
        return [(entry, entry.is_dir()) for entry in entries]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder}: it cannot be read ({error.strerror or error}). {_NAME_ONE}") from None


def _plain(name: str) -> str:
    """A name without what people write in different ways."""
    name = name.lower().removesuffix(".gz").removesuffix(".bin")
    return name.translate(str.maketrans("", "", "-_. "))
