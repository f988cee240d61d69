"""``run.json``: a run as a file, from which all of its report is made again.

    {"format": "funcnet run", "version": 2, "run": {...}}

``run`` holds the fields of ``RunRecord`` by their names; records within are objects, and tuples are arrays, so the
docstrings of ``RunRecord``, ``EpochNumbers``, ``Evaluation``, ``Examination`` and ``LayerFacts`` are its documentation.
Two things JSON lacks: a number that is none is written as the string "nan", "inf" or "-inf", and the bytes of a picture
(uint8, row by row, channels last) as base64.

A change of the meaning of a field, or a new field, raises the version. All earlier versions are read: fields that they
lack have their defaults. A version that is not known is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any

import cattrs
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from funcnet.data.dataset import DataError
from funcnet.files import open_file, write_whole
from funcnet.record import RunRecord

__all__ = ["FORMAT", "VERSION", "read_run", "run_to_json", "write_run"]

FORMAT, VERSION = "funcnet run", 2


def _read_float(value: Any, _: type) -> float:
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in ("nan", "inf", "-inf")):
        raise ValueError(f"expected a number, found {value!r:.40}")
    number = float(value)
    return math.nan if math.isnan(number) else number


def _read_int(value: Any, _: type) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r:.40}")
    return value


def _read_str(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r:.40}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):  # halves of letters, which no file can hold
        raise ValueError(f"expected a text, found {value!r:.40}")
    return value


def _read_bytes(value: Any, _: type) -> bytes:
    try:
        return base64.b64decode(_read_str(value, str), validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64, found {value!r:.40}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{max(keys, key=keys.count)!r} is there more than once")
    return content


_converter = make_converter(forbid_extra_keys=True)
_converter.register_unstructure_hook(float, lambda value: value if math.isfinite(value) else str(value))
_converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
_converter.register_structure_hook(float, _read_float)
_converter.register_structure_hook(int, _read_int)
_converter.register_structure_hook(str, _read_str)
_converter.register_structure_hook(bytes, _read_bytes)


def write_run(run: RunRecord, path: Path | str) -> None:
    """Write the run, whole or not at all; a file of that name is replaced.

    Raises:
        OSError: where the file cannot be written.
    """
    write_whole(path, run_to_json(run))


def run_to_json(run: RunRecord) -> str:
    """The content of the run's file."""
    content = {"format": FORMAT, "version": VERSION, "run": _converter.unstructure(run)}
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


def read_run(path: Path | str) -> RunRecord:
    """Read the run that ``write_run`` wrote: an equal record.

    Raises:
        DataError: for a file that holds no run, or one of another version, saying where.
        OSError: where the file cannot be read, or is a folder, a pipe or a device.
    """
    with open_file(path) as file:
        text = file.read()
    try:
        content = json.loads(text.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
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
        return _converter.structure(content["run"], RunRecord)
    except (cattrs.BaseValidationError, AttributeError, TypeError, ValueError) as error:
        faults = cattrs.transform_error(error, path="run", format_exception=_said)
        raise DataError(f"{path}: {'; '.join(faults[:3])}") from error


def _said(error: BaseException, kind: type | None) -> str:
    """What this module's readers say, and of all else what cattrs says."""
    return str(error) if str(error).startswith("expected ") else format_exception(error, kind)
