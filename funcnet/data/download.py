"""Downloads: whole and right, or not there at all.

What arrives is collected in a hidden folder, which is removed in the end, and compared with its published checksum.
Only then is it moved to its place. So two processes may do the same at once: the second replaces the files by equal
ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import attrs

from funcnet.data.dataset import DataError

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Download", "bring"]

_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 5  # each goes on where the one before broke off
_LARGEST = 1 << 28  # bytes of a file in an archive
_PIECE = 1 << 14


@attrs.frozen
class Download:
    """A file to be downloaded.

    Attributes:
        file: its name. A ``.tar.gz`` is unpacked.
        size: its size in bytes. No more is taken from a server.
        md5: its published checksum.
    """

    file: str
    size: int
    md5: str


def bring(base: str, downloads: Iterable[Download], wanted: Collection[str], target: Path) -> None:
    """Bring files into the folder ``target``. None is put there before all have arrived and are right.

    Whether they can be put there is tried first. Files that are there already stay, except those that are brought.

    Args:
        base: the address of the downloads.
        downloads: what to download.
        wanted: the names of the files to take out of archives.
        target: the folder, which is made if it is not there.

    Raises:
        DataError: where the folder cannot be used, the server cannot be reached, or it sends something else.
    """
    import tempfile  # imported where it is needed

    try:
        beside = target if target.is_dir() else target.parent
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(0, "it is not a folder", str(target))
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=beside, prefix=".download-") as folder:
            arrived = Path(folder) / target.name
            arrived.mkdir()
            for download in downloads:
                path = (Path(folder) if download.file.endswith(".tar.gz") else arrived) / download.file
                _download(base + download.file, download, path)
                if path.parent != arrived:
                    _unpack(path, wanted, arrived)
            _move(arrived, target)
    except OSError as error:
        raise DataError(f"{error.filename or target}: {error.strerror or error}") from error


def _move(arrived: Path, target: Path) -> None:
    try:
        arrived.rename(target)  # all at once
    except OSError:
        if not target.is_dir():
            raise
        for path in arrived.iterdir():
            path.replace(target / path.name)


def _download(address: str, download: Download, path: Path) -> None:
    from urllib.parse import urlsplit  # imported where they are needed: requests costs a fifth of a second

    import requests
    from tqdm import tqdm

    host = urlsplit(address).netloc
    try:
        with path.open("w+b") as file, tqdm(total=download.size, unit="B", unit_scale=True, desc=download.file) as bar:
            for attempt in range(_ATTEMPTS):
                try:
                    _receive(address, download, file, bar)
                except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                    # If nothing has come at all, there is no download to go on with.
                    if attempt == _ATTEMPTS - 1 or not file.tell():
                        raise
                if file.tell() == download.size:
                    break
            file.seek(0)
            found = hashlib.file_digest(file, "md5").hexdigest()
    except requests.HTTPError as error:
        raise DataError(f"{host} answers: {error}") from None
    except (requests.ConnectionError, requests.Timeout) as error:  # to wait for the next bytes raises the former
        slow = isinstance(error, requests.Timeout) or "Read timed out" in str(error)
        why = f"{host} sent nothing for {_TIMEOUT:g} seconds" if slow else f"there is no connection to {host}"
        raise DataError(why) from None
    except requests.RequestException as error:
        raise DataError(f"{host} does not send the whole of {download.file} ({error!s:.200})") from None
    if found != download.md5:
        raise DataError(
            f"what {host} sent is not the published {download.file}, but {path.stat().st_size:,} bytes with the MD5 "
            f"checksum {found}, not {download.md5}"
        )


def _receive(address: str, download: Download, file: BinaryIO, bar: tqdm[NoReturn]) -> None:
    """Append what the file still lacks; all of it, where the server sends it all."""
    import requests

    done = file.tell()
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(address, headers=asked, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        if done and answer.status_code != 206:
            file.seek(0)
            file.truncate()
            bar.reset()
        for piece in answer.iter_content(_PIECE):
            if file.tell() + len(piece) > download.size:
                raise DataError(f"the server sends more than the {download.size:,} bytes of {download.file}")
            file.write(piece)
            bar.update(len(piece))


def _unpack(archive: Path, wanted: Collection[str], folder: Path) -> None:
    """Copy the wanted files out of the archive into ``folder``. The folders that the archive names are ignored."""
    import shutil  # imported where they are needed
    import tarfile
    import zlib

    try:
        with tarfile.open(archive) as members:
            for member in members:
                name = PurePosixPath(member.name).name
                if not member.isreg() or name not in wanted:
                    continue
                content = members.extractfile(member)
                if member.size > _LARGEST or content is None:
                    raise DataError(f"{archive.name}: its {name} has {member.size:,} bytes")
                with (folder / name).open("xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name}: expected a .tar.gz archive, found something else ({error})") from None
    if lacking := [name for name in wanted if not (folder / name).exists()]:
        raise DataError(f"{archive.name}: expected an archive with {', '.join(lacking)}, found none of that name")
