import json
import os
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file

from funcnet import tree
from funcnet.data.dataset import DataError
from funcnet.files import write_whole
from funcnet.layers.linear import LinearParams
from funcnet.tensor_file import _DTYPES, constants_of, fill, read_tensors, write_tensors
from funcnet.tree import freeze

FORM = "funcnet test"


def written(path: Path, arrays: dict[str, Any], facts: dict[str, Any] | None = None) -> Path:
    write_tensors(path, FORM, 1, facts or {}, arrays)
    return path


def forged(path: Path, text: str, **arrays: Any) -> Path:
    """A file with this JSON, whose checksum is right."""
    content = save(arrays, {"funcnet": text})
    path.write_bytes(content.replace(b"0" * 64, sha256(content).hexdigest().encode(), 1))
    return path


def header(**changes: Any) -> str:
    return json.dumps({"sha256": "0" * 64, "format": FORM, "version": 1, "column_major": [], "facts": {}} | changes)


GRID = np.arange(24, dtype=np.float32).reshape(4, 6)
LAYOUTS = {
    "rows": GRID,
    "columns": np.asfortranarray(GRID),
    "transposed": GRID.T,
    "strided": GRID[::2, 1::3],
    "backwards": GRID[::-1, ::-1],
    "broadcast": np.broadcast_to(np.float32(7), (3, 2)),
    "swapped axes": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "no entries": np.zeros((0, 3)),
    "no entries in columns": np.zeros((3, 0, 2), order="F"),
    "no axes": np.array(2.5),
    "read-only": freeze(GRID.T.copy(order="F")),
    "aligned": tree.map(lambda x: x, LinearParams(GRID.T)).weight,
    "at an odd address": np.frombuffer(b"\0" + GRID.tobytes(), np.float32, offset=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_in_any_layout(layout: str, tmp_path: Path) -> None:
    """safetensors itself writes most of these scrambled, or reads beyond them."""
    array = LAYOUTS[layout]
    path = written(tmp_path / "a", {"x": array})
    back = read_tensors(path, FORM, 1)[1]["x"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    if array.flags.forc:
        assert (back.flags.c_contiguous, back.flags.f_contiguous) == (
            array.flags.c_contiguous,
            array.flags.f_contiguous,
        )
    with safe_open(path, "np") as other:  # any other reader sees the same
        assert other.get_tensor("x").tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", _DTYPES)
def test_dtypes(dtype: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, (5, 16), np.uint8)
    array = bits.view(dtype)  # NaN with any payload, infinities and subnormal numbers among them
    back = read_tensors(written(tmp_path / "a", {"x": array}), FORM, 1)[1]["x"]
    assert (back.dtype, back.tobytes()) == (array.dtype, array.tobytes())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, np.longdouble), np.zeros(2, np.complex128), np.zeros(2, object), np.zeros(2, "U3"),
        np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f4")]), np.zeros(2, ">f4"),
    ],
    ids=lambda array: array.dtype.str,
)  # fmt: skip
def test_what_the_file_cannot_hold_is_refused(array: Any, tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"^params\[0\] is of dtype .*, which the file cannot hold: it holds bool, int8"
    ):
        written(tmp_path / "a", {"params[0]": array})
    assert list(tmp_path.iterdir()) == []


facts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(facts=st.dictionaries(st.text(), facts, max_size=4))
def test_any_facts(facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.getbasetemp() / "facts", {}, facts)
    assert read_tensors(path, FORM, 1) == (facts, {})


def test_facts_that_look_like_a_checksum(tmp_path: Path) -> None:
    told = {"sha256": "0" * 64, "text": '{"sha256": "', "inside": {"sha256": "1" * 64}}
    assert read_tensors(written(tmp_path / "a", {"sha256": GRID}, told), FORM, 1)[0] == told


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    arrays = dict.fromkeys("hgfedcba", GRID)
    files = {written(tmp_path / "a", arrays, {"c": 1}).read_bytes() for _ in range(10)}
    assert len(files) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_every_damage_is_found(damage: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a", {"x": GRID, "y": np.arange(5)}, {"text": "some facts", "number": 5})
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        content = bytearray(whole)
        if damage == "flip":
            content[place] ^= 1 << draw.randrange(8)
        elif damage == "cut":
            del content[place:]
        else:
            content.insert(place, draw.randrange(256))
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path}: .*(damaged|an empty file)"):
            read_tensors(path, FORM, 1)
    path.write_bytes(whole)
    read_tensors(path, FORM, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (header(version=2), "expected a funcnet test of version 1, found version 2: it was written by another release"),
        (header(format="funcnet model"), "expected the file of a funcnet test, found that of a funcnet model"),
        (header(version=None), "expected a funcnet test of version 1, found version None"),
        (header(column_major=["z"]), "found something else: 'z'"),
        (header(column_major=5), "found something else"),
        (header(facts=[1]), "found something else"),
        (header(more=1), r"found something else: extra fields found \(more\) @ metadata"),
        (header()[:-1], "found something else: Expecting"),
        (header()[:-1] + ', "facts": {}}', "found something else: 'facts' is there more than once"),
        (header(facts=0).replace("0}", "[" * 100_000), "found something else"),
        ('{"sha256": "%s"}' % ("0" * 64), "found something else: 'format'"),
        ("{}", "found something else, or a file that was damaged"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, message: str, tmp_path: Path) -> None:
    path = forged(tmp_path / "a", text)
    with pytest.raises(DataError, match=message) as error:
        read_tensors(path, FORM, 1)
    assert str(error.value).startswith(f"{path}: ")


def test_files_of_others(tmp_path: Path) -> None:
    save_file({"x": GRID}, tmp_path / "theirs")
    (tmp_path / "page").write_text("<!DOCTYPE html>")
    (tmp_path / "bfloat16").write_bytes(
        forged(tmp_path / "a", header(), x=GRID.astype(np.float16)).read_bytes().replace(b'"F16"', b'"BF16"')
    )
    for name in ("theirs", "page", "bfloat16"):
        with pytest.raises(DataError, match=rf"{name}: .*(found something else|damaged)"):
            read_tensors(tmp_path / name, FORM, 1)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match=r"it is a (folder|pipe|device), not a file"):
            read_tensors(path, FORM, 1)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none", FORM, 1)


# --- trees


@attrs.frozen
class Strided(tree.Record):
    """Params with a number that is part of their structure."""

    weight: Any = tree.array_field()
    stride: int = tree.static_field(default=2)
    bias: Any = tree.array_field(default=None)


@attrs.frozen
class Named(tree.Record):
    """So paths begin with ``params``."""

    params: Any


def params(weight: Any = GRID, **others: Any) -> Named:
    return Named(((), Strided(weight, **others)))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (params(), ""),
        (
            params(GRID.T),
            r"params\[1\]\.weight: the file has float32 of shape \(6, 4\), the network float32 of shape \(4, 6\)",
        ),
        (params(GRID.astype(float)), r"weight: the file has float64 of shape \(4, 6\), the network float32 of shape"),
        (params(stride=1), r"params\[1\]\.stride: the file has 1, the network 2"),
        (params(bias=GRID[0]), r"params\[1\]\.bias: the file has float32 of shape \(6,\), the network nothing"),
        (params(None), r"params\[1\]\.weight: the file has nothing, the network float32 of shape \(4, 6\)"),
    ],
)
def test_the_first_difference_is_named(saved: Any, message: str, tmp_path: Path) -> None:
    arrays = dict(tree.named_leaves(saved))
    if not message:
        made = fill(tmp_path, params(np.zeros_like(GRID)), arrays, constants_of(saved))
        assert tree.equal(made.params, saved.params)
        assert not made.params[1].weight.flags.writeable
        return
    with pytest.raises(DataError, match=rf"^{tmp_path}: .*{message}"):
        fill(tmp_path, params(), arrays, constants_of(saved))


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("name", ["array_api_strict", "jax.numpy"])
def test_arrays_of_another_namespace(name: str, tmp_path: Path) -> None:
    xp = pytest.importorskip(name)
    saved = params(xp.asarray(GRID))
    path = written(tmp_path / "a", dict(tree.named_leaves(saved)))
    made = fill(path, params(xp.zeros((4, 6), dtype=xp.float32)), read_tensors(path, FORM, 1)[1], constants_of(saved))
    assert type(made.params[1].weight) is type(saved.params[1].weight)
    assert np.array_equal(np.asarray(made.params[1].weight), GRID)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a", {"x": GRID})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=str(path)):
        write_whole(path, b"x")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", before)]
