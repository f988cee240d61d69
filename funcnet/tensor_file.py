"""Files of arrays with facts about them: safetensors, written whole, with a version and a checksum.

A file is read by whatever reads safetensors, each array by its name. The file's metadata has one text, "funcnet":

    {"sha256": "...", "format": "funcnet checkpoint", "version": 1, "column_major": [names], "facts": {...}}

``sha256`` is the checksum of the whole file with 0 in place of these 64 digits. The same content makes the same file.
``column_major`` names the arrays that lay in Fortran order. In the file all lie row by row. They come back in the order
that they had, since some products are faster, or round otherwise, in one than in the other.

Nothing of a file is looked at before its checksum was found to be right. Nothing in it can run as code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from funcnet import tree
from funcnet.arrays import namespace
from funcnet.data.dataset import DataError
from funcnet.files import read_whole, write_whole
from funcnet.json_records import from_json, parse
from funcnet.shapes import Array
from funcnet.tree import Tree

__all__ = ["constants_of", "fill", "read_tensors", "write_tensors"]

_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64",
)  # fmt: skip
_SUM = rb'"{\"sha256\": \"'  # as it stands in the file, where the JSON is a text in other JSON
_NO_SUM = b"0" * 64


@attrs.frozen
class _Header:
    sha256: str
    format: str
    version: int
    column_major: tuple[str, ...]
    facts: dict[str, Any]


def write_tensors(path: Path, form: str, version: int, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write arrays by their names, and facts that JSON can hold; a file of that name is replaced.

    Raises:
        TypeError: for an array of a dtype that these files cannot hold, naming it.
        OSError: where the file cannot be written.
    """
    import hashlib  # imported where they are needed

    from safetensors.numpy import save

    stored = {name: _row_major(name, array) for name, array in arrays.items()}
    column_major = tuple(name for name, array in arrays.items() if _is_column_major(array))
    text = json.dumps(
        attrs.asdict(_Header(_NO_SUM.decode(), form, version, column_major, dict(facts))), allow_nan=False
    )
    content = save(stored, {"funcnet": text})
    begin = content.index(_SUM) + len(_SUM)
    digest = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, content[:begin] + digest + content[begin + len(digest) :])


def _row_major(name: str, array: Array) -> Array:
    # safetensors 0.8.0 writes the memory from the array's first entry on, whatever the order of its axes.
    stored = np.asarray(array, order="C")  # ascontiguousarray would give an array without axes one
    if stored.dtype.name not in _DTYPES or not stored.dtype.isnative:
        given = stored.dtype.name if stored.dtype.isnative else f"{stored.dtype.str} (not this machine's byte order)"
        raise TypeError(f"{name} is of dtype {given}, which the file cannot hold: it holds {', '.join(_DTYPES)}")
    return stored


def _is_column_major(array: Array) -> bool:
    return isinstance(array, np.ndarray) and array.flags.f_contiguous and not array.flags.c_contiguous


def read_tensors(path: Path, form: str, version: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """The facts and the arrays that ``write_tensors`` wrote.

    Raises:
        DataError: for a file that was cut short or changed, one of another form or version, or anything else.
        OSError: where the file cannot be read, as by ``read_whole``.
    """
    import hashlib  # imported where it is needed

    content = read_whole(path)
    if not content:
        raise DataError(f"{path}: expected the file of a {form}, found an empty file")
    if (found := content.find(_SUM)) < 0:
        raise DataError(f"{path}: expected the file of a {form}, found something else, or a file that was damaged")
    begin = found + len(_SUM)
    end = begin + len(_NO_SUM)
    view, summed = memoryview(content), hashlib.sha256()
    for part in (view[:begin], _NO_SUM, view[end:]):
        summed.update(part)
    if content[begin:end] != summed.hexdigest().encode():
        raise DataError(f"{path}: the file is damaged: it was cut short or changed after it was written")
    return _content(path, content, form, version)


def _content(path: Path, content: bytes, form: str, version: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a file holds whose checksum is right, though anybody may have computed it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found = parse(header["__metadata__"]["funcnet"])
        given = (found["format"], found["version"])
        if given == (form, version):
            made = from_json(found, _Header, "metadata")
            column_major = {name: np.asfortranarray(arrays[name]) for name in made.column_major}
            return made.facts, arrays | column_major
    except (SafetensorError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected the file of a {form}, found something else: {error}") from error
    if given[0] == form:
        raise DataError(
            f"{path}: expected a {form} of version {version}, found version {given[1]!r:.20}: it was written by "
            "another release of funcnet, which can read it"
        )
    raise DataError(f"{path}: expected the file of a {form}, found that of a {given[0]!s:.40}")


def constants_of(node: Tree) -> dict[str, str]:
    """The whole numbers and texts in a tree, by their paths: the structure that the arrays do not tell."""
    arrays = dict(tree.named_leaves(node))
    return {path: what for path, what in tree.structure(node).items() if path not in arrays and what != "nothing"}


def fill(path: Path, node: Any, arrays: Mapping[str, Array], constants: Mapping[str, str]) -> Any:
    """The tree with the arrays of a file in place of its own, each in the namespace of that.

    Raises:
        DataError: where the file has other paths, shapes, dtypes or constants, naming the first difference.
    """
    here = tree.structure(node)
    there = {place: tree.describe_array(array) for place, array in arrays.items()} | dict(constants)
    for place in (*here, *sorted(there.keys() - here.keys())):
        found, wanted = there.get(place, "nothing"), here.get(place, "nothing")
        if found != wanted:
            owner = "optimizer" if place.startswith("opt_state") else "network"
            raise DataError(
                f"{path}: {place}: the file has {found}, the {owner} {wanted}. A file is loaded into what it was saved "
                "from."
            )

    def loaded(place: str, own: Array) -> Array:
        return arrays[place] if isinstance(own, np.ndarray) else namespace(own).asarray(arrays[place])

    return tree.map_named(loaded, node)
