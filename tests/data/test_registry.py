import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import platformdirs
import pytest

from funcnet.data import known, registry
from funcnet.data.dataset import DataError
from funcnet.data.registry import NAMES, load

IDX_CONTENT = {
    "train-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(range(196)) * 12,
    "train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 9]),
    "t10k-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(2 * 784),
    "t10k-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2]),
}
CIFAR_CONTENT = {
    "train.bin": bytes([4, 99]) + bytes(3072) + bytes([19, 7]) + bytes(3072),
    "test.bin": bytes([0, 1]) + bytes(3072),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data but what a test puts down: sets of a few examples, an empty cache, and no network."""
    monkeypatch.delenv("FUNCNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, counts in (("mnist", (3, 2)), ("fashion-mnist", (3, 2)), ("cifar-100", (2, 1))):
        change(monkeypatch, name, counts=counts, base="http://127.0.0.1:9/")
    return tmp_path


def change(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    monkeypatch.setitem(registry._SOURCES, name, attrs.evolve(registry._SOURCES[name], **fields))


def put(folder: Path, content: dict[str, bytes], ending: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / (name + ending)).write_bytes(gzip.compress(data) if ending else data)
    return folder


@pytest.mark.usefixtures("as_users_run")
def test_the_names() -> None:
    assert NAMES == ("glyphs", "fashion-mnist", "mnist", "cifar-10", "cifar-100")
    with pytest.raises(DataError, match=r"no data set 'mnits'; there are glyphs, fashion-mnist, mnist"):
        load("mnits")
    with pytest.raises(DataError, match=r"no data set \['mnist'\]"):
        load(["mnist"])


def test_glyphs_need_nothing() -> None:
    data = load("glyphs")
    assert (len(data.train), len(data.test), len(data.classes)) == (10_000, 2_000, 10)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw"])
def test_a_set_is_found_in_the_named_folder(home: Path, place: str, ending: str) -> None:
    put(home / "mine" / place, IDX_CONTENT, ending)
    data = load("mnist", home / "mine")
    assert data.train.y.tolist() == [5, 0, 9]
    assert data.train.x[0, 0, 5] == 5
    assert (data.name, data.test.in_shape) == ("mnist", (28, 28))


def test_folders_are_looked_in_by_turns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, label in (("cache/funcnet", 1), ("environment", 2), ("named", 3)):
        labels = {"train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, label, 0, 9])}
        put(home / place / "mnist", IDX_CONTENT | labels)
        if place == "environment":
            monkeypatch.setenv("FUNCNET_DATA", str(home / place))
        named = home / place if place == "named" else None
        assert load("mnist", named).train.y[0] == label
    (home / "empty").mkdir()
    assert load("mnist", home / "empty").train.y[0] == 2


def test_the_sets_own_folder_may_be_named(home: Path) -> None:
    """But not another set's, whose files may have the same names."""
    put(home / "mnist", IDX_CONTENT, ".gz")
    assert load("mnist", home / "mnist").train.y.tolist() == [5, 0, 9]
    put(home / "FashionMNIST" / "raw", IDX_CONTENT)
    assert load("fashion-mnist", home / "FashionMNIST" / "raw").train.y.tolist() == [5, 0, 9]
    with pytest.raises(DataError, match=r"mnist is not in .*, and cannot be downloaded"):
        load("mnist", home / "FashionMNIST" / "raw")


@pytest.mark.parametrize("folder", ["Fashion-MNIST", "fashion_mnist", "FashionMNIST/raw", "FASHION-MNIST", "."])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.upper(),
        lambda name: name.replace("-", "_").title(),
        lambda name: name.upper() + ".GZ",
    ],
    ids=["dots", "capitals", "underscores", "capitals, packed"],
)
def test_names_that_people_give(home: Path, folder: str, rename: Callable[[str], str]) -> None:
    for name, content in IDX_CONTENT.items():
        new = rename(name)
        put(home / "data" / folder, {new: gzip.compress(content) if new.endswith(".GZ") else content})
    data = load("fashion-mnist", home / "data")
    assert data.train.y.tolist() == [5, 0, 9]
    assert data.origin.startswith(f"files in the folder {(home / 'data' / folder).name}; not the content that is known")


def test_official_names_and_plain_files_come_first(home: Path) -> None:
    labels = "train-labels-idx1-ubyte"
    folder = put(home / "mnist", IDX_CONTENT)
    for name, label in ((labels, 1), (labels.upper(), 2), (labels + ".gz", 3)):
        put(folder, {name: bytes([0, 0, 8, 1, 0, 0, 0, 3, label, 0, 9])})
    for label in (1, 2):
        assert load("mnist", home).train.y[0] == label
        (folder / (labels if label == 1 else labels.upper())).unlink()
    assert load("mnist", home).train.y[0] == 3


def test_a_folder_with_the_name_of_a_file_is_not_that_file(home: Path) -> None:
    folder = put(home / "mnist", IDX_CONTENT | {"train-images.idx3-ubyte": IDX_CONTENT["train-images-idx3-ubyte"]})
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte").mkdir()
    assert len(load("mnist", home).train) == 3


def test_the_home_folder_is_expanded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    put(home / "data" / "mnist", IDX_CONTENT)
    assert len(load("mnist", "~/data").train) == 3
    monkeypatch.setenv("FUNCNET_DATA", "~/data")
    assert len(load("mnist").train) == 3
    for path in ("~nobody-of-this-name/data", Path("~nobody-of-this-name")):
        with pytest.raises(
            DataError, match=r"the home folder, for which ~ stands, is not known\. Name .*--data or FUN"
        ):
            load("mnist", path)


@pytest.mark.parametrize("raises", [False, True])
def test_without_a_home_folder_one_has_to_be_named(home: Path, monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    """As for an account without one: ~ stays as it is, and is the name of a folder below the current one."""

    def cache_path(name: str) -> Path:
        if raises:
            raise RuntimeError
        return Path("~/.cache") / name

    monkeypatch.chdir(home)
    monkeypatch.setattr(platformdirs, "user_cache_path", cache_path)
    with pytest.raises(DataError, match=r"since the home folder is not known\. Name a folder with --data or FUNCNET_D"):
        load("mnist")
    put(home / "mnist", IDX_CONTENT)
    assert len(load("mnist", home).train) == 3
    with pytest.raises(DataError, match=r"fashion-mnist is not in .*, and cannot be downloaded"):
        load("fashion-mnist", home)
    assert [path.name for path in home.iterdir()] == ["mnist"]


def test_a_home_folder_that_cannot_be_used_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with pytest.raises(DataError, match=r"file/funcnet.* cannot be read .Not a directory.*--data or FUNCNET_DATA"):
        load("mnist")
    (home / "loop").symlink_to(home / "loop")
    with pytest.raises(DataError, match=r"the folder .*loop: it cannot be read .Too many .*--data or FUNCNET_DATA"):
        load("mnist", home / "loop")


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "x" * 5000, "file"])
def test_a_folder_that_is_none_is_named(home: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "file").write_text("")
    with pytest.raises(DataError, match=r"the folder /.*: it cannot be read \(.*\)\. Name a folder with --data"):
        load("mnist", path)


def test_a_pipe_in_the_place_of_a_file_is_refused(home: Path) -> None:
    folder = put(home / "mnist", IDX_CONTENT)
    (folder / "train-labels-idx1-ubyte").unlink()
    os.mkfifo(folder / "train-labels-idx1-ubyte")
    with pytest.raises(DataError, match=r"labels-idx1-ubyte: cannot be read \(it is a pipe, not a file\)"):
        load("mnist", home)


def know(monkeypatch: pytest.MonkeyPatch, name: str, content: dict[str, bytes]) -> None:
    """Let the content be that of the set."""
    change(monkeypatch, name, known=tuple((file, hashlib.md5(data).hexdigest()) for file, data in content.items()))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_content_is_known_by_its_checksums(home: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    put(home / "mnist", IDX_CONTENT, ending)
    know(monkeypatch, "mnist", IDX_CONTENT)
    data = load("mnist", home)
    assert data.origin == "files in the folder mnist, whose content has the known checksums of mnist"
    assert data.description.startswith("Grey pictures of handwritten digits")
    know(monkeypatch, "mnist", IDX_CONTENT | {"t10k-labels-idx1-ubyte": b""})
    assert load("mnist", home).origin == (
        "files in the folder mnist; not the content that is known as mnist, by the checksums of t10k-labels-idx1-ubyte"
    )


@pytest.mark.parametrize("foreign", IDX_CONTENT)
def test_the_files_of_another_set_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch, foreign: str) -> None:
    """Even one of them: pictures of clothes with labels of digits."""
    put(home / "mnist", IDX_CONTENT)
    know(monkeypatch, "fashion-mnist", dict.fromkeys(IDX_CONTENT, b"") | {foreign: IDX_CONTENT[foreign]})
    with pytest.raises(
        DataError, match=f"mnist: {foreign} of mnist: found {foreign} of fashion-mnist. Ask for fashion-mnist"
    ):
        load("mnist", home)
    put(home / "fashion-mnist", IDX_CONTENT)
    assert len(load("fashion-mnist", home).train) == 3


def test_sets_of_records_are_known_in_any_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [bytes([i, 10 * i]) + bytes([i]) * 3072 for i in (4, 7)]
    folder = put(home / "cifar-100-binary", CIFAR_CONTENT | {"train.bin": b"".join(records)})
    data = load("cifar-100", home)
    sums = (*known.record_sums(data.train), *known.record_sums(data.test))
    known_as = tuple(zip(("the training examples", "the testing examples"), sums, strict=True))
    change(monkeypatch, "cifar-100", known=known_as)
    put(folder, {"train.bin": b"".join(reversed(records))})
    assert load("cifar-100", home).origin.endswith("whose content has the known checksums of cifar-100")
    for other in (records[0] * 2, records[0] + records[1][:-1] + b"\0", records[0] + b"\0\0" + records[1][2:]):
        put(folder, {"train.bin": other})
        assert load("cifar-100", home).origin.endswith("by the checksums of the training examples")


def test_a_stale_environment_does_not_matter_to_who_names_a_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCNET_DATA", "/no/where")
    put(home / "mnist", IDX_CONTENT)
    assert load("mnist", home).train.y.tolist() == [5, 0, 9]


def test_cifar100_is_read_with_its_names(home: Path) -> None:
    put(home / "cifar-100-binary", CIFAR_CONTENT)
    data = load("cifar-100", home)
    assert data.train.y.tolist() == [99, 7]
    assert (len(data.classes), data.classes[0], data.classes[99]) == (100, "apple", "worm")


def test_cifar10_is_one_training_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "cifar-10", counts=(5, 1))
    files = {f"data_batch_{i}.bin": bytes([i]) + bytes([i]) * 3072 for i in range(1, 6)}
    put(home / "cifar-10-batches-bin", files | {"test_batch.bin": bytes(3073)})
    data = load("cifar-10", home)
    assert data.train.y.tolist() == [1, 2, 3, 4, 5]
    assert data.train.x[:, 31, 31, 2].tolist() == [1, 2, 3, 4, 5]
    assert not data.train.x.flags.writeable


def test_a_folder_that_does_not_exist_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"the folder /no/where: there is no such folder\. Name a folder with --data or FUNCNET_DATA"
    ):
        load("mnist", "/no/where")
    monkeypatch.setenv("FUNCNET_DATA", str(home / "gone"))
    with pytest.raises(DataError, match=r"FUNCNET_DATA .*gone: there is no such folder"):
        load("mnist")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"train-labels-idx1-ubyte": None, "t10k-images-idx3-ubyte": None},
            "mnist: mnist lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte. Add what is missing, or take away "
            "t10k-labels-idx1-ubyte, train-images-idx3-ubyte, and the whole set is downloaded",
        ),
        (
            {"train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])},
            r"labels-idx1-ubyte: expected an array of shape \(3,\), found shape \(2,\)",
        ),
        (
            {"train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 10])},
            "labels-idx1-ubyte: expected labels from 0 to 9, found 10",
        ),
        (
            {"t10k-images-idx3-ubyte": IDX_CONTENT["t10k-labels-idx1-ubyte"]},
            r"t10k-images-idx3-ubyte: expected an array of shape \(2, 28, 28\), found shape \(2,\)",
        ),
        (
            {"t10k-labels-idx1-ubyte": IDX_CONTENT["t10k-images-idx3-ubyte"]},
            r"t10k-labels-idx1-ubyte: expected an array of shape \(2,\), found shape \(2, 28, 28\)",
        ),
        (
            {name: IDX_CONTENT["t10k" + name[5:]] for name in IDX_CONTENT if name.startswith("train")},
            r"expected an array of shape \(3, 28, 28\), found shape \(2, 28, 28\)",
        ),
    ],
)
def test_a_wrong_file_is_named(home: Path, wrong: dict[str, bytes | None], message: str) -> None:
    folder = put(home / "mnist", IDX_CONTENT | {k: v for k, v in wrong.items() if v is not None})
    for name in (k for k, v in wrong.items() if v is None):
        (folder / name).unlink()
    with pytest.raises(DataError, match=message):
        load("mnist", home)


def test_no_large_file_is_unpacked_in_vain(home: Path) -> None:
    """A header of another set is seen before anything is unpacked, also that of the last file."""
    folder = put(home / "mnist", IDX_CONTENT, ".gz")
    put(folder, {"t10k-labels-idx1-ubyte.gz": gzip.compress(bytes([0, 0, 8, 1, 255, 255, 255, 255]) + bytes(1 << 20))})
    with pytest.raises(DataError, match=r"expected an array of shape \(2,\), found shape \(4294967295,\)"):
        load("mnist", home)


def test_published_classes_and_counts(data_folder: Path) -> None:
    """The real registry, on the real files."""
    assert (data_folder / "fashion-mnist").is_dir()
    names = (data_folder / "cifar-100-binary" / "fine_label_names.txt").read_text().split()
    assert registry._SOURCES["cifar-100"].classes == tuple(names)
    names = (data_folder / "cifar-10-batches-bin" / "batches.meta.txt").read_text().split()
    assert registry._SOURCES["cifar-10"].classes == tuple(names)


def test_the_real_clothes_are_no_digits(data_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (home / "mnist").symlink_to(data_folder / "fashion-mnist")
    with pytest.raises(DataError, match=r"found train-images-idx3-ubyte of fashion-mnist\. Ask for fashion-mnist"):
        load("mnist", home)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("fashion-mnist", [0.2860], [0.3530]),
        ("cifar-10", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
        ("cifar-100", [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    ],
)
def test_real_sets_have_their_published_statistics(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, mean: list[float], deviation: list[float]
) -> None:
    monkeypatch.undo()
    data = load(name, data_folder)
    assert data.origin.endswith(f"whose content has the known checksums of {name}")
    channels = data.train.x.reshape(-1, len(mean))
    np.testing.assert_allclose(channels.mean(axis=0) / 255, mean, atol=6e-5)
    np.testing.assert_allclose(channels.std(axis=0) / 255, deviation, atol=6e-5)
    counts = np.bincount(data.train.y)
    assert (counts == len(data.train) / len(data.classes)).all()
