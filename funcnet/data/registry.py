"""The data sets that have a name: where they are looked for, how they are read, whence they are downloaded.

``load`` takes paths of other data sets, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import numpy as np

from funcnet.data.cifar import read_cifar10, read_cifar100
from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.data.download import Download, bring
from funcnet.data.glyphs import glyphs_dataset
from funcnet.data.idx import idx_shape, read_idx
from funcnet.data.known import idx_sums, record_sums
from funcnet.data.own import read_dataset
from funcnet.data.places import data_folders, files_in, folders_in, is_called
from funcnet.random import make_key
from funcnet.tree import freeze

__all__ = ["NAMES", "load"]

_Files = Mapping[str, Path]


@attrs.frozen
class _Source:
    """One downloadable data set.

    Attributes:
        folders: the folders it may lie in, below a data folder; a download goes to the first.
        files: the official names of its files there. A folder with any of them is taken for the set.
        read: from these files to the training and the testing part.
        counts: how many examples these have.
        classes: the names of the classes.
        description: what the examples are, and who published them.
        sums: the checksums of what is in a part.
        known: what these are of, and what they should be: first of the training part, then of the testing part.
        base: the address of the downloads.
        downloads: what is downloaded. An archive (``.tar.gz``) holds the files.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    read: Callable[[_Files, tuple[int, int]], tuple[Split, Split]]
    counts: tuple[int, int]
    classes: tuple[str, ...]
    description: str
    sums: Callable[[Split], tuple[str, ...]]
    known: tuple[tuple[str, str], ...]
    base: str
    downloads: tuple[Download, ...]


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _read_idx_files(files: _Files, counts: tuple[int, int]) -> tuple[Split, Split]:
    for place, name in enumerate(_IDX_FILES):  # all headers first: nothing large is read, or unpacked, in vain
        axes, shape = ((28, 28), ())[place % 2], idx_shape(files[name])
        expected = (counts[place // 2], *axes)
        if shape != expected:
            raise DataError(f"{files[name]}: expected an array of shape {expected}, found shape {shape}")
    train_x, train_y, test_x, test_y = (read_idx(files[name]) for name in _IDX_FILES)
    for name, labels in (("train-labels-idx1-ubyte", train_y), ("t10k-labels-idx1-ubyte", test_y)):
        if labels.max() > 9:
            raise DataError(f"{files[name]}: expected labels from 0 to 9, found {labels.max()}")
    return Split(train_x, train_y), Split(test_x, test_y)


_CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


def _read_cifar10_files(files: _Files, counts: tuple[int, int]) -> tuple[Split, Split]:
    parts = [read_cifar10(files[name]) for name in _CIFAR10_TRAIN]
    train = Split(
        freeze(np.concatenate([part.x for part in parts])), freeze(np.concatenate([part.y for part in parts]))
    )
    return train, read_cifar10(files["test_batch.bin"])


def _read_cifar100_files(files: _Files, counts: tuple[int, int]) -> tuple[Split, Split]:
    return read_cifar100(files["train.bin"]), read_cifar100(files["test.bin"])


_SOURCES = {
    "fashion-mnist": _Source(
        folders=("fashion-mnist", "FashionMNIST/raw"),
        files=_IDX_FILES,
        read=_read_idx_files,
        counts=(60_000, 10_000),
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        description="Grey pictures of clothes, shoes and bags, 28 x 28 pixels. Fashion-MNIST: Xiao, Rasul & Vollgraf "
        "(2017), arXiv:1708.07747",
        sums=idx_sums,
        known=(
            ("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9"),
            ("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
        base="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        downloads=(
            Download("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Download("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            Download("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            Download("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "mnist": _Source(
        folders=("mnist", "MNIST/raw"),
        files=_IDX_FILES,
        read=_read_idx_files,
        counts=(60_000, 10_000),
        classes=tuple("0123456789"),
        description="Grey pictures of handwritten digits, 28 x 28 pixels. MNIST: LeCun, Bottou, Bengio & Haffner "
        "(1998), Gradient-based learning applied to document recognition",
        sums=idx_sums,
        known=(
            ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
        ),
        base="https://ossci-datasets.s3.amazonaws.com/mnist/",
        downloads=(
            Download("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            Download("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            Download("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            Download("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "cifar-10": _Source(
        folders=("cifar-10-batches-bin", "cifar-10/cifar-10-batches-bin", "cifar-10"),
        files=(*_CIFAR10_TRAIN, "test_batch.bin"),
        read=_read_cifar10_files,
        counts=(50_000, 10_000),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        description="Colour photographs of animals and vehicles, 32 x 32 pixels. CIFAR-10: Krizhevsky (2009), "
        "Learning multiple layers of features from tiny images",
        sums=record_sums,
        known=(
            ("the training examples", "6a3b2c04d0a79ce272dcdacaf0bc440275db5a8cbe3717521a28fada2ea0d2ed"),
            ("the testing examples", "65a6ffe079453e514083f99356b35e02cbfd581b4951e3937fae188974b79f39"),
        ),
        base="https://www.cs.toronto.edu/~kriz/",
        downloads=(Download("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),),
    ),
    "cifar-100": _Source(
        folders=("cifar-100-binary", "cifar-100/cifar-100-binary", "cifar-100"),
        files=("train.bin", "test.bin"),
        read=_read_cifar100_files,
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
        description="Colour photographs of 100 kinds of things, 32 x 32 pixels. CIFAR-100: Krizhevsky (2009), Learning "
        "multiple layers of features from tiny images",
        sums=record_sums,
        known=(
            ("the training examples", "640c97a4012a8aebfcaf57fd82a33dd43b37d2e397a02cb9b0a3d89e6d6d936d"),
            ("the testing examples", "a6a97df7b61bc7420bc44268696e8963d33129bc050978f2a63d8fe3420989fa"),
        ),
        base="https://www.cs.toronto.edu/~kriz/",
        downloads=(Download("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),),
    ),
}  # fmt: skip

NAMES = ("glyphs", *_SOURCES)


def load(name: Path | str, folder: Path | str | None = None) -> Dataset:
    """The data set called ``name`` (one of ``NAMES``), or the one of your own at that path, whole in memory.

    ``glyphs`` is generated. The others are looked for in ``folder``, then in the folder that the environment variable
    FUNCNET_DATA names, then in the user's cache folder. They are the official files, plain or gzip, in a folder of
    their official name (``cifar-10-batches-bin``) or of the data set's (``fashion-mnist``), or in the named folder
    itself. Capital letters, and marks between words, make no difference in names. A set found in none of these is
    downloaded to the first of them, with a progress bar, and checked against its published checksum.

    What was read is compared with known checksums. The data set's ``origin`` says whether it agrees.

    Any other name is the path of a folder of images or a ``.npz`` file, which ``read_dataset`` reads. A path that is
    also a name is written ``./mnist``.

    Raises:
        DataError: for a name that is neither; a named folder that cannot be used; a file that is missing, truncated or
            something else; the files of another of these sets; a download that failed; what ``read_dataset`` refuses.
    """
    if name == "glyphs":
        return glyphs_dataset(make_key(0))
    if not isinstance(name, str) or name not in _SOURCES:
        return read_dataset(_own(name))
    source = _SOURCES[name]
    folders = []
    for data_folder in data_folders(folder):
        folders.append(data_folder)
        for place in _places(source, data_folder):
            if found := files_in(place, source.files):
                return _read(name, source, place, found)
    target = folders[0] if is_called(folders[0], source.folders) else folders[0] / source.folders[0]
    try:
        bring(source.base, source.downloads, source.files, target)
    except DataError as error:
        files = ", ".join(download.file for download in source.downloads)
        own = source.folders[0]
        unpack = ", unpack it" if files.endswith(".tar.gz") else f" into a folder {own}"
        raise DataError(
            f"{name} is not in {' or '.join(map(str, folders))}, and cannot be downloaded ({error}): on a machine "
            f"with a network download {files} from {source.base}{unpack}, and name the folder that holds {own} "
            "with --data or FUNCNET_DATA"
        ) from None
    return _read(name, source, target, files_in(target, source.files))


def _own(name: Path | str) -> Path:
    """The path of a data set of one's own, if something is there."""
    if isinstance(name, Path | str):
        with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: the home folder is not known
            path = Path(name).expanduser()
            if path.exists():
                return path
    given = str(name) if isinstance(name, Path) else name
    raise DataError(
        f"there is no data set {given!r:.80}; there are {', '.join(NAMES)}, and no folder or .npz file has this path"
    )


def _places(source: _Source, data_folder: Path) -> Iterator[Path]:
    """Where in a data folder the set may lie: in its own folder, or in the data folder, if that is no other set's."""
    for name in source.folders:
        yield from folders_in(data_folder, name)
    others = [name for other in _SOURCES.values() for name in other.folders if name not in source.folders]
    if not is_called(data_folder, others):
        yield data_folder


def _read(name: str, source: _Source, folder: Path, files: _Files) -> Dataset:
    if lacking := [file for file in source.files if file not in files]:
        raise DataError(
            f"{folder}: {name} lacks {', '.join(lacking)}. Add what is missing, or take away "
            f"{', '.join(path.name for path in files.values())}, and the whole set is downloaded"
        )
    train, test = source.read(files, source.counts)
    for part, split, count in (("training", train, source.counts[0]), ("testing", test, source.counts[1])):
        if len(split) != count:
            raise DataError(f"{folder}: {name} has {count:,} {part} examples, found {len(split):,}")
    origin = _origin(name, source, folder, (*source.sums(train), *source.sums(test)))
    return Dataset(name, train, test, source.classes, description=source.description, origin=origin)


def _origin(name: str, source: _Source, folder: Path, sums: tuple[str, ...]) -> str:
    whose = {known: (other, of) for other in _SOURCES for of, known in _SOURCES[other].known}
    unknown = []
    for (of, expected), found in zip(source.known, sums, strict=True):
        if found in whose and found != expected:
            other, what = whose[found]
            raise DataError(
                f"{folder}: {of} of {name}: found {what} of {other}. Ask for {other}, or give the folder its name"
            )
        if found != expected:
            unknown.append(of)
    files = f"files in the folder {folder.name}"
    if not unknown:
        return f"{files}, whose content has the known checksums of {name}"
    return f"{files}; not the content that is known as {name}, by the checksums of {', '.join(unknown)}"
