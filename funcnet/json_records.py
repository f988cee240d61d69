"""Records as JSON, and back: strict, so that nothing wrong in a file is taken for a value.

    {"field": value, ...}

Records are objects, and tuples are arrays. JSON has no NaN, no infinities and no bytes. They are written as the strings
"nan", "inf" and "-inf", and as base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from functools import cache
from typing import Any, TypeVar

__all__ = ["from_json", "parse", "to_json"]

T = TypeVar("T")


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


@cache
def _converter() -> Any:
    from cattrs.preconf.json import make_converter  # imported where it is needed: it costs a tenth of a second

    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(float, lambda value: value if math.isfinite(value) else str(value))
    # No file can hold halves of letters: they are written as \udcff.
    converter.register_unstructure_hook(str, lambda value: value.encode(errors="backslashreplace").decode())
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    converter.register_structure_hook(float, _read_float)
    converter.register_structure_hook(int, _read_int)
    converter.register_structure_hook(str, _read_str)
    converter.register_structure_hook(bytes, _read_bytes)
    return converter


def parse(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: for anything else, for a field that is there twice, and for nesting that is too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def to_json(record: Any) -> Any:
    """The record as what ``json.dumps`` takes."""
    return _converter().unstructure(record)


def from_json(content: Any, kind: type[T], name: str) -> T:
    """The record of this kind that ``to_json`` gave, from what ``parse`` returned. ``name`` is what messages call it.

    Raises:
        ValueError: saying what is wrong, and where: ``expected a whole number, found '1' @ run.seed``.
    """
    from cattrs import BaseValidationError, transform_error

    try:
        made: T = _converter().structure(content, kind)
    except (BaseValidationError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        faults = transform_error(error, path=name, format_exception=_said)
        raise ValueError("; ".join(faults[:3])) from error
    return made


def _said(error: BaseException, kind: Any) -> str:
    """What this module's readers say, and of all else what cattrs says."""
    from cattrs.v import format_exception

    return str(error) if str(error).startswith("expected ") else format_exception(error, kind)
