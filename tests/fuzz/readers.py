"""What reads files: each with contents to begin with, and how these are changed.

Another reader is a line of ``READERS``. ``test_fuzz.py`` gives it changed contents, and ``with_atheris.py`` those that
reach new lines of it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from funcnet.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from funcnet.combinators import chain
from funcnet.data import registry
from funcnet.data.cifar import read_cifar10, read_cifar100
from funcnet.data.dataset import DataError
from funcnet.data.download import _unpack
from funcnet.data.glyphs import glyphs_dataset
from funcnet.data.idx import idx_header, read_idx
from funcnet.data.images import read_image_folder
from funcnet.data.npz import read_npz
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.model_file import load_model, make_model, save_model
from funcnet.optimizers import adam
from funcnet.random import make_key
from funcnet.run_file import read_run, run_of_json
from funcnet.step import init_state

Change = Callable[[random.Random, bytes], bytes]

_SIZES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = (b"\x1f\x8b\x08", b"\x80\x02", b"PK\x03\x04", b"<html>", b"ustar", b"\0\0\x08\x03", b"\xff" * 8, b"\0" * 512)


def bytes_changed(draw: random.Random, content: bytes) -> bytes:
    """A few changes anywhere: flipped, cut, repeated, inserted, numbers at their limits."""
    new = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        place = draw.randrange(len(new) + 1)
        kind = draw.randrange(7)
        if kind == 0 and new:
            new[place - 1] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del new[place:]
        elif kind == 2:
            del new[place : place + draw.choice((1, 2, 4, 100))]
        elif kind == 3:
            new[place:place] = new[place : place + draw.choice((1, 4, 1000))] * draw.choice((1, 2, 10))
        elif kind == 4:
            new[place:place] = draw.choice(_WORDS)
        elif kind == 5:
            number = draw.choice(_SIZES)
            new[place : place + 4] = struct.pack(draw.choice("<>") + "I", number)
        else:  # the header, where most depends on it
            new[draw.randrange(min(32, len(new) + 1)) :][:1] = bytes([draw.randrange(256)])
    return bytes(new[: 1 << 20])


def inside_gzip(change: Change) -> Change:
    """What is packed is changed, and sometimes what packs it."""

    def changed(draw: random.Random, content: bytes) -> bytes:
        packed = gzip.compress(change(draw, content), draw.choice((0, 1, 9)))
        return bytes_changed(draw, packed) if draw.random() < 0.2 else packed

    return changed


def json_changed(draw: random.Random, content: bytes) -> bytes:
    """A value somewhere in it becomes another, is lost, or is repeated; sometimes its bytes are changed."""
    if draw.random() < 0.2:
        return bytes_changed(draw, content)
    root = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        node: Any = root
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and draw.random() < 0.8:
                node = node[key]
                continue
            _replace(draw, node, key)
            break
    text = json.dumps(root)
    return (text.replace('"nan"', "NaN") if draw.random() < 0.05 else text).encode(errors="surrogatepass")


def summed_again(change: Change) -> Change:
    """What is changed gets the right checksum, mostly: else nothing of the file would be looked at."""

    def changed(draw: random.Random, content: bytes) -> bytes:
        new = change(draw, content)
        place = new.find(_SUM)
        if place < 0 or draw.random() < 0.1:
            return new
        begin, end = place + len(_SUM), place + len(_SUM) + 64
        digest = hashlib.sha256(new[:begin] + b"0" * 64 + new[end:]).hexdigest().encode()
        return new[:begin] + digest + new[end:]

    return changed


_SUM = rb'"{\"sha256\": \"'

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e308, -0.0, "", "nan", "inf", "-inf", "a",
    "\0", "\ud800", "é" * 300, [], {}, [[]], [None], {"a": 1}, [1, 2, 3], "AAAA", "=" * 5, float("nan"), float("inf"),
)  # fmt: skip


def _replace(draw: random.Random, node: Any, key: Any) -> None:
    if draw.random() < 0.2:
        del node[key]
    elif isinstance(node, list) and draw.random() < 0.2:
        node.insert(key, node[key])
    elif isinstance(node, dict) and draw.random() < 0.1:
        node[draw.choice(("", "x", "format", "version"))] = node[key]
    else:
        node[key] = draw.choice(_VALUES)


@attrs.frozen
class Reader:
    """A function that reads a file.

    Attributes:
        read: the function of its path.
        seeds: contents that it reads.
        change: how these are changed.
        refuses: what it may raise. All else is a fault.
    """

    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    change: Change = bytes_changed
    refuses: tuple[type[Exception], ...] = (DataError,)


def _archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in (("set/train.bin", b"1" * 600), ("set/test.bin", b""), ("../other", b"2")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _unpacked(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        _unpack(path, ("train.bin", "test.bin"), Path(folder))
        assert {p.name for p in path.parent.rglob("*")} <= {path.name, Path(folder).name, "train.bin", "test.bin"}


def _set_of(path: Path) -> None:
    """The file in the place of one of a small MNIST."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for name in names[:2]:
            (Path(folder) / name.replace("train", "t10k")).write_bytes(_IMAGES if "images" in name else _LABELS)
        (Path(folder) / names[0]).write_bytes(_IMAGES)
        (Path(folder) / names[1]).write_bytes(path.read_bytes())
        source = attrs.evolve(registry._SOURCES["mnist"], counts=(3, 3))
        files = {name: Path(folder) / name for name in names}
        registry._read("mnist", source, Path(folder), files)


def _folder_of(path: Path) -> None:
    """The file as an image of two classes."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for name in ("a", "b"):
            Path(folder, name).mkdir()
            for number in "12":
                Path(folder, name, f"{number}.png").write_bytes(path.read_bytes())
        read_image_folder(folder)


def _images() -> tuple[bytes, ...]:
    """A small image in each format, one of them with a palette and one of 16 bits."""
    pixels = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    images = [(Image.fromarray(pixels), name) for name in ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")]
    images.append((Image.fromarray(pixels).convert("P"), "PNG"))
    images.append((Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG"))
    made = []
    for image, name in images:
        image.save(content := io.BytesIO(), name)
        made.append(content.getvalue())
    return tuple(made)


def _archives_of_arrays() -> tuple[bytes, ...]:
    """Both ways of naming arrays, plain and packed."""
    x, y = np.arange(48, dtype=np.uint8).reshape(4, 3, 4), np.arange(4) % 2
    parts = {"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]}
    np.savez(plain := io.BytesIO(), x=x / 7, y=y, classes=["cat", "dog"])
    np.savez_compressed(packed := io.BytesIO(), **parts)
    return plain.getvalue(), packed.getvalue()


def arrays_changed(draw: random.Random, content: bytes) -> bytes:
    """The bytes of the archive, or those of an array in it, which then gets the right checksum."""
    if draw.random() < 0.5:
        return bytes_changed(draw, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made := io.BytesIO(), "w") as changed:
        names = archive.namelist()
        chosen = draw.choice(names)
        for name in names:
            array = archive.read(name)
            changed.writestr(name, bytes_changed(draw, array) if name == chosen else array, draw.choice((0, 8)))
    return made.getvalue()


_IMAGES = idx_header((3, 28, 28)) + bytes(3 * 784)
_LABELS = idx_header((3,)) + bytes([1, 9, 0])
_IDX = (_LABELS, idx_header((2, 3, 4)) + bytes(24), idx_header(()) + b"\1", idx_header((0, 5)))
_CIFAR10 = bytes([3]) + bytes(3072) + bytes([9]) + bytes(3072)
_CIFAR100 = bytes([19, 99]) + bytes(3072)
_RUN = (Path(__file__).parents[1] / "run-version-1.json").read_bytes()

_DATA = glyphs_dataset(make_key(0), 4, 2)
_NET = chain(flatten(), linear(3), linear(10))
_STATE = init_state(_NET.init(make_key(0), _DATA.train.in_shape)[0], adam(0.1), make_key(1))


def _saved() -> tuple[bytes, bytes]:
    """A checkpoint and a model."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save_checkpoint(folder, Checkpoint(_STATE, run_of_json(_RUN, "run")))
        save_model(Path(folder, "model"), make_model(_NET, _STATE.params, _DATA))
        return checkpoint.read_bytes(), Path(folder, "model").read_bytes()


_CHECKPOINT, _MODEL = _saved()

READERS: dict[str, Reader] = {
    "idx": Reader(read_idx, _IDX),
    "idx, mapped": Reader(partial(read_idx, mmap=True), _IDX),
    "idx, packed": Reader(read_idx, _IDX, inside_gzip(bytes_changed)),
    "cifar-10": Reader(read_cifar10, (_CIFAR10,)),
    "cifar-10, mapped": Reader(partial(read_cifar10, mmap=True), (_CIFAR10,)),
    "cifar-100": Reader(read_cifar100, (_CIFAR100,)),
    "mnist": Reader(_set_of, (_LABELS,)),
    "npz": Reader(read_npz, _archives_of_arrays(), arrays_changed),
    "images": Reader(_folder_of, _images()),
    "archive": Reader(_unpacked, (_archive(),), inside_gzip(bytes_changed), (DataError, OSError)),
    "run": Reader(read_run, (_RUN,), json_changed),
    "checkpoint": Reader(lambda path: load_checkpoint(path, _STATE), (_CHECKPOINT,), summed_again(bytes_changed)),
    "model": Reader(load_model, (_MODEL,), summed_again(bytes_changed)),
}
