"""Array types for signatures, and the errors of arrays that do not fit.

Arrays are batch first, channels last: ``(batch, ...)`` in general, ``(batch, height, width, channels)`` for
colour images. A *shape* without further word leaves the batch axis out.

The annotations (``Float[Array, "batch in"]``) are jaxtyping's. They are only evaluated by type checkers and by
programs that imported jaxtyping first (the tests do, and enforce every one of them with beartype): importing
jaxtyping costs about as much time as importing NumPy, which a plain ``import funcnet`` should not pay.
"""

from __future__ import annotations

import numbers
import re
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from funcnet.arrays import is_array, namespace

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Integer, Num, UInt8, UInt64
else:

    class _AnyArray:
        def __class_getitem__(cls, array_and_shape: Any) -> type[np.ndarray]:
            return np.ndarray

    Bool = Float = Integer = Num = UInt8 = UInt64 = _AnyArray

__all__ = [
    "Array",
    "Bool",
    "Float",
    "Integer",
    "Num",
    "Shape",
    "ShapeError",
    "UInt8",
    "UInt64",
    "array_hint",
    "converted",
    "describe",
    "expect",
    "expect_float",
    "is_plain",
    "kind_of",
    "no_floats",
    "not_an_array",
    "whole_number",
]

Array: TypeAlias = np.ndarray
Shape: TypeAlias = tuple[int, ...]


class ShapeError(ValueError):
    """An array, or a whole parameter tree, broke a contract on shape, dtype or range.

    The message names the place (``chain[2].linear(10)``), what was expected there and what was given. The three
    are attributes too.
    """

    def __init__(self, place: str, expected: str, given: str) -> None:
        super().__init__(f"{place}: expected {expected}, got {given}")
        self.place = place
        self.expected = expected
        self.given = given

    def __reduce__(self) -> tuple[type[ShapeError], tuple[str, str, str]]:
        # An exception is rebuilt from its message alone unless told otherwise, and would not come back from a
        # worker process.
        return ShapeError, (self.place, self.expected, self.given)

    def inside(self, outer: str) -> ShapeError:
        """The same error with its place seen from the combinator around it."""
        return ShapeError(f"{outer}.{self.place}", self.expected, self.given)


def describe(shape: tuple[int | str, ...]) -> str:
    """A shape as it is written in messages: ``(batch, 784)``, ``(batch,)``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def expect(place: str, name: str, array: Array, shape: tuple[int | str, ...], dtype: np.dtype) -> None:
    """Require ``array`` to have ``shape`` (a word such as "batch" stands for any length) and ``dtype``.

    Raises:
        ShapeError: naming ``place`` and ``name``, before any arithmetic was done.
    """
    if array.__class__ is not np.ndarray and not is_plain(array):
        raise not_an_array(place, name, array)
    # Loops and looks at identities first: a step of a small network spends a good part of its time here.
    given = array.shape
    if given != shape:
        fits = len(given) == len(shape)
        for found, wanted in zip(given, shape, strict=False):
            if found != wanted and wanted.__class__ is int:
                fits = False
        if not fits:
            raise ShapeError(place, f"{name} of shape {describe(shape)}", f"shape {describe(given)}")
    if array.dtype is not dtype and array.dtype != dtype:
        raise ShapeError(place, f"{name} of dtype {dtype}", f"dtype {array.dtype}")


def expect_float(place: str, name: str, array: Array, *, kinds: str = "f") -> None:
    """Require a floating-point array with a batch axis.

    With ``kinds="fc"`` complex numbers pass too: layers take them so that their derivative can be measured by the
    complex step. Losses do not, so no network is trained on them unawares.

    Raises:
        ShapeError: naming ``place`` and ``name``.
    """
    if array.__class__ is not np.ndarray and not is_plain(array):
        raise not_an_array(place, name, array)
    if array.ndim == 0:
        raise ShapeError(place, f"{name} of shape (batch, ...)", "shape ()")
    if not isinstance(array, np.ndarray):
        if not namespace(array).isdtype(array.dtype, "real floating"):
            raise ShapeError(place, f"{name} of a floating-point dtype", f"dtype {array.dtype}")
    elif array.dtype.kind not in kinds:
        raise no_floats(place, name, array)


def no_floats(place: str, name: str, array: Array) -> ShapeError:
    """The error of a NumPy array that should hold floating-point numbers and does not."""
    kind = array.dtype.kind
    hint = f" ({converted(name, np.dtype(np.float32))}?)" if kind in "iubO" else ""
    if name == "x" and array.dtype == np.uint8:
        hint = " (of images, data.normalization makes floats)"
    elif name == "x" and kind in "iu" and array.size and array.min() >= 0 and 1 < array.max() <= 255:
        hint = " (images from 0 to 255? x.astype(np.uint8), of which data.normalization makes floats)"
    return ShapeError(place, f"{name} of a floating-point dtype", f"dtype {array.dtype}{hint}")


def converted(name: str, dtype: Any) -> str:
    """The code that converts an array to the dtype: ``x.astype(np.float32)``."""
    foreign = isinstance(dtype, np.dtype) and not dtype.isnative
    return f"{name.removeprefix('the ')}.astype({repr(dtype.str) if foreign else f'np.{dtype}'})"


def is_plain(array: object) -> bool:
    """Whether it is an array on which ``*`` is entry by entry, and no entry is left out: not so of all that inherit."""
    if isinstance(array, np.ndarray):
        return not isinstance(array, np.matrix | np.ma.MaskedArray)
    return is_array(array) and not isinstance(array, np.generic)


def kind_of(value: object) -> str:
    """The type of a value, in words: ``a list``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def not_an_array(place: str, name: str, array: object) -> ShapeError:
    """The error of what is no array at all."""
    return ShapeError(place, f"{name} as a NumPy array", f"{kind_of(array)}{array_hint(name, array)}")


def array_hint(name: str, value: object) -> str:
    """How an array is made of a list, a data frame or the like; empty for what no array is made of."""
    name = name.removeprefix("the ")
    if isinstance(value, np.ma.MaskedArray):
        return f" ({name}.filled(...) has all entries)"
    made = isinstance(value, list | tuple) or (hasattr(value, "__array__") and not isinstance(value, np.generic))
    if not made or re.fullmatch(r"[\w.\[\]]+", name) is None:
        return ""
    return f" (np.asarray({name})?)" if name == "labels" else f" (np.asarray({name}, np.float32)?)"


def whole_number(what: str, value: object, low: int) -> int:
    """The value as an int, if it is a whole number from ``low`` up.

    Raises:
        ValueError: for a smaller one, or anything else, naming it ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise ValueError(f"{what} is a whole number from {low} up, got {value!r}")
    return int(value)
