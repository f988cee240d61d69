"""The data sets that have a name: where they are looked for, how they are read, whence they are downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np

from funcnet.data.cifar import read_cifar10, read_cifar100
from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.data.glyphs import glyphs_dataset
from funcnet.data.idx import read_idx
from funcnet.random import make_key
from funcnet.tree import freeze

__all__ = ["NAMES", "load"]


@attrs.frozen
class _Source:
    """One downloadable data set.

    Attributes:
        folders: the folders it may lie in, below a data folder; a download goes to the first.
        files: the names of its files there. A folder with any of them is taken for the set.
        read: from that folder to the training and the testing part.
        counts: how many examples these have.
        base: the address of the downloads.
        downloads: their names, each with its published MD5 checksum. An archive (``.tar.gz``) holds the folder.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    read: Callable[[Path], tuple[Split, Split]]
    counts: tuple[int, int]
    classes: tuple[str, ...]
    base: str
    downloads: tuple[tuple[str, str], ...]


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_IDX_GZIP_FILES = tuple(f"{name}.gz" for name in _IDX_FILES)


def _read_idx_folder(folder: Path) -> tuple[Split, Split]:
    train_x, train_y, test_x, test_y = (_plain_or_gzip(folder / name) for name in _IDX_FILES)
    return _idx_split(train_x, train_y), _idx_split(test_x, test_y)


def _idx_split(images: Path, labels: Path) -> Split:
    x, y = read_idx(images), read_idx(labels)
    for path, array, axes in ((images, x, (28, 28)), (labels, y, ())):
        if array.shape[1:] != axes or array.ndim == 0:
            expected = "an array of shape (n, 28, 28)" if axes else "an array of shape (n,)"
            raise DataError(f"{path}: expected {expected}, found shape {array.shape}")
    if len(x) != len(y):
        raise DataError(f"{labels}: expected {len(x):,} labels for the images of {images.name}, found {len(y):,}")
    if len(y) and y.max() > 9:
        raise DataError(f"{labels}: expected labels from 0 to 9, found {y.max()}")
    return Split(x, y)


def _plain_or_gzip(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


_CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


def _read_cifar10_folder(folder: Path) -> tuple[Split, Split]:
    parts = [read_cifar10(folder / name) for name in _CIFAR10_TRAIN]
    train = Split(
        freeze(np.concatenate([part.x for part in parts])), freeze(np.concatenate([part.y for part in parts]))
    )
    return train, read_cifar10(folder / "test_batch.bin")


def _read_cifar100_folder(folder: Path) -> tuple[Split, Split]:
    return read_cifar100(folder / "train.bin"), read_cifar100(folder / "test.bin")


_SOURCES = {
    "fashion-mnist": _Source(
        folders=("fashion-mnist", "FashionMNIST/raw"),
        files=_IDX_FILES + _IDX_GZIP_FILES,
        read=_read_idx_folder,
        counts=(60_000, 10_000),
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        base="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        downloads=(
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "mnist": _Source(
        folders=("mnist", "MNIST/raw"),
        files=_IDX_FILES + _IDX_GZIP_FILES,
        read=_read_idx_folder,
        counts=(60_000, 10_000),
        classes=tuple("0123456789"),
        base="https://ossci-datasets.s3.amazonaws.com/mnist/",
        downloads=(
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "cifar-10": _Source(
        folders=("cifar-10-batches-bin", "cifar-10/cifar-10-batches-bin"),
        files=(*_CIFAR10_TRAIN, "test_batch.bin"),
        read=_read_cifar10_folder,
        counts=(50_000, 10_000),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        base="https://www.cs.toronto.edu/~kriz/",
        downloads=(("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
    ),
    "cifar-100": _Source(
        folders=("cifar-100-binary", "cifar-100/cifar-100-binary"),
        files=("train.bin", "test.bin"),
        read=_read_cifar100_folder,
        counts=(50_000, 10_000),
        classes=(
            "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
            "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
            "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
            "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
            "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
            "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
            "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
            "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
            "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
            "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
            "woman", "worm",
        ),
        base="https://www.cs.toronto.edu/~kriz/",
        downloads=(("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
    ),
}  # fmt: skip

NAMES = ("glyphs", *_SOURCES)


def load(name: str, folder: Path | str | None = None) -> Dataset:
    """The data set called ``name`` (one of ``NAMES``), whole in memory as uint8.

    ``glyphs`` is generated. The others are looked for in ``folder``, then in the folder that the environment variable
    FUNCNET_DATA names, then in the user's cache folder; as the official files, in a folder of their official name
    (``cifar-10-batches-bin``) or of the data set's (``fashion-mnist``). A set found in none of these is downloaded to
    the first of them that was named, with a progress bar, and checked against its published checksum.

    Raises:
        DataError: for an unknown name; a named folder that does not exist; a file that is missing, truncated or
            something else; a download that failed.
    """
    if name == "glyphs":
        return glyphs_dataset(make_key(0))
    if name not in _SOURCES:
        raise DataError(f"there is no data set {name!r}; there are {', '.join(NAMES)}")
    source = _SOURCES[name]
    data_folders = []
    for data_folder in _data_folders(folder):
        data_folders.append(data_folder)
        for place in _places(source, data_folder):
            if _holds_some(source, place):
                return _read(name, source, place)
    return _read(name, source, _download(name, source, data_folders))


def _data_folders(named: Path | str | None) -> Iterator[Path]:
    for origin, path in (("the folder", named), ("FUNCNET_DATA", os.environ.get("FUNCNET_DATA"))):
        if path:
            if not Path(path).is_dir():
                raise DataError(f"{origin} {path}: there is no such folder")
            yield Path(path)
    import pooch  # imported where it is needed: it costs a fifth of a second

    yield Path(pooch.os_cache("funcnet"))


def _places(source: _Source, data_folder: Path) -> list[Path]:
    """Where in a data folder the set may lie; the folder that was named may also be the set's own."""
    places = [data_folder / place for place in source.folders]
    own = any(data_folder.parts[-len(Path(place).parts) :] == Path(place).parts for place in source.folders)
    return [*places, data_folder] if own else places


def _holds_some(source: _Source, folder: Path) -> bool:
    return any((folder / name).exists() for name in source.files)


def _read(name: str, source: _Source, folder: Path) -> Dataset:
    train, test = source.read(folder)
    for part, split, count in (("training", train, source.counts[0]), ("testing", test, source.counts[1])):
        if len(split) != count:
            raise DataError(f"{folder}: {name} has {count:,} {part} examples, found {len(split):,}")
    return Dataset(name, train, test, source.classes)


def _download(name: str, source: _Source, data_folders: list[Path]) -> Path:
    """Bring the set to the first data folder, all of it or nothing, and return the folder its files are in."""
    import tempfile  # imported where they are needed

    import pooch

    target = data_folders[0] / source.folders[0]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as arriving:
            for file, md5 in source.downloads:
                packed = file.endswith(".tar.gz")
                pooch.retrieve(
                    source.base + file,
                    f"md5:{md5}",
                    fname=file,
                    path=Path(arriving) / target.name,
                    processor=pooch.Untar(extract_dir=arriving) if packed else None,
                    progressbar=True,
                )
                if packed:
                    (Path(arriving) / target.name / file).unlink()
            (Path(arriving) / target.name).rename(target)
    except (OSError, ValueError) as error:  # what pooch lets through: the network, the disk, a wrong checksum
        looked = ", ".join(str(place) for below in data_folders for place in _places(source, below))
        raise DataError(
            f"{name} was found in none of {looked}; downloading {source.base} failed: {error}. "
            f"Name a folder that holds {source.folders[0]}/ with --data or FUNCNET_DATA."
        ) from error
    return target
