"""``run.json``: a run as a file, from which all of its report is made again.

    {"format": "funcnet run", "version": 3, "run": {...}}

``run`` holds the fields of ``RunRecord`` by their names; records within are objects, and tuples are arrays, so the
docstrings of ``RunRecord``, ``EpochNumbers``, ``Evaluation``, ``Examination`` and ``LayerFacts`` are its documentation.
``json_records`` says how NaN, infinities and the bytes of a picture (uint8, row by row, channels last) are written.

A change of the meaning of a field, or a new field, raises the version. All earlier versions are read: fields that they
lack have their defaults. A version that is not known is refused.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from funcnet.data.dataset import DataError
from funcnet.files import read_whole, write_whole
from funcnet.json_records import from_json, parse, to_json
from funcnet.record import RunRecord

__all__ = ["FORMAT", "VERSION", "file_names", "read_run", "run_file_name", "run_of_json", "run_to_json", "write_run"]

FORMAT, VERSION = "funcnet run", 3


def write_run(run: RunRecord, path: Path | str) -> None:
    """Write the run, whole or not at all; a file of that name is replaced.

    Raises:
        OSError: where the file cannot be written.
    """
    write_whole(path, run_to_json(run))


def run_to_json(run: RunRecord) -> str:
    """The content of the run's file."""
    content = {"format": FORMAT, "version": VERSION, "run": to_json(run)}
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


def file_names(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """For each run a part of file names: its data set's name, safe in paths, numbered from the second on."""
    names: list[str] = []
    for run in runs:
        known = run.dataset.encode(sys.getfilesystemencoding(), "replace").decode(sys.getfilesystemencoding())
        stem = re.sub(r"[^\w.,+-]+", "-", known).encode()[:120].decode(errors="ignore").lstrip(".") or "-"
        taken = {name.casefold() for name in names}  # some file systems take a and A for one name
        candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name.casefold() not in taken))
    return tuple(names)


def run_file_name(name: str) -> str:
    """How a report calls the file of the run on the data set ``name`` (one of ``file_names``)."""
    return f"run-{name}.json"


def read_run(path: Path | str) -> RunRecord:
    """Read the run that ``write_run`` wrote: an equal record.

    Raises:
        DataError: for a file that holds no run, or one of another version, saying where.
        OSError: where the file cannot be read, or is a folder, a pipe or a device.
    """
    return run_of_json(read_whole(path), path)


def run_of_json(text: bytes, path: Path | str) -> RunRecord:
    """The run of the content of a run's file, in UTF-8. Messages begin with ``path``.

    Raises:
        DataError: for anything else.
    """
    try:
        content = parse(text.decode())
    except ValueError as error:
        raise DataError(f"{path}: expected a run as JSON, found something else: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f'{path}: expected the JSON of a run, {{"format": "{FORMAT}", ...}}, found something else')
    version = content.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
        raise DataError(
            f"{path}: expected a run of version 1 to {VERSION}, found version {version!r:.20}: it was "
            "written by another release of funcnet, which can read it"
        )
    if unknown := content.keys() - {"format", "version", "run"}:
        raise DataError(f"{path}: expected nothing but format, version and run, found {', '.join(sorted(unknown))}")
    if not isinstance(content.get("run"), dict):
        raise DataError(f'{path}: expected the run\'s fields under "run", found something else')
    try:
        return from_json(content["run"], RunRecord, "run")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
