import functools
import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import numpy as np
import pytest

from funcnet.data import registry
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


def test_the_names() -> None:
    assert NAMES == ("glyphs", "fashion-mnist", "mnist", "cifar-10", "cifar-100")
    with pytest.raises(DataError, match=r"no data set 'mnits'; there are glyphs, fashion-mnist, mnist"):
        load("mnits")


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
    with pytest.raises(DataError, match="mnist was found in none of"):
        load("mnist", home / "FashionMNIST" / "raw")


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
    with pytest.raises(DataError, match=r"the folder /no/where: there is no such folder"):
        load("mnist", "/no/where")
    monkeypatch.setenv("FUNCNET_DATA", str(home / "gone"))
    with pytest.raises(DataError, match=r"FUNCNET_DATA .*gone: there is no such folder"):
        load("mnist")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train-labels-idx1-ubyte": None}, "train-labels-idx1-ubyte: there is no such file"),
        (
            {"train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])},
            "labels-idx1-ubyte: expected 3 labels for the images of train-images-idx3-ubyte, found 2",
        ),
        (
            {"train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 10])},
            "labels-idx1-ubyte: expected labels from 0 to 9, found 10",
        ),
        (
            {"t10k-images-idx3-ubyte": IDX_CONTENT["t10k-labels-idx1-ubyte"]},
            r"t10k-images-idx3-ubyte: expected an array of shape \(n, 28, 28\), found shape \(2,\)",
        ),
        (
            {"t10k-labels-idx1-ubyte": IDX_CONTENT["t10k-images-idx3-ubyte"]},
            r"t10k-labels-idx1-ubyte: expected an array of shape \(n,\), found shape \(2, 28, 28\)",
        ),
        (
            {name: IDX_CONTENT["t10k" + name[5:]] for name in IDX_CONTENT if name.startswith("train")},
            "mnist: mnist has 3 training examples, found 2",
        ),
    ],
)
def test_a_wrong_file_is_named(home: Path, wrong: dict[str, bytes | None], message: str) -> None:
    folder = put(home / "mnist", IDX_CONTENT | {k: v for k, v in wrong.items() if v is not None})
    for name in (k for k, v in wrong.items() if v is None):
        (folder / name).unlink()
    with pytest.raises(DataError, match=message):
        load("mnist", home)


@pytest.fixture
def server(home: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address and its folder."""
    folder = home / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", folder
        http.shutdown()
        thread.join()


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, base: str, files: dict[str, bytes]) -> None:
    put(folder, files)
    downloads = tuple((file, hashlib.md5(data).hexdigest()) for file, data in files.items())
    change(monkeypatch, name, base=base, downloads=downloads)


def test_what_is_nowhere_is_downloaded_once(
    home: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    base, folder = server
    serve(folder, monkeypatch, "mnist", base, {f"{k}.gz": gzip.compress(v) for k, v in IDX_CONTENT.items()})
    (home / "named").mkdir()
    assert load("mnist", home / "named").train.y.tolist() == [5, 0, 9]
    assert "100%" in capfd.readouterr().err
    assert len(list((home / "named" / "mnist").iterdir())) == 4
    change(monkeypatch, "mnist", base="http://127.0.0.1:9/")
    assert load("mnist", home / "named").test.y.tolist() == [1, 2]


def test_an_archive_is_unpacked_into_the_cache(
    home: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder = server
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(put(home / "made" / "cifar-100-binary", CIFAR_CONTENT), "cifar-100-binary")
    serve(folder, monkeypatch, "cifar-100", base, {"cifar-100-binary.tar.gz": packed.getvalue()})
    assert load("cifar-100").train.y.tolist() == [99, 7]
    assert [p.name for p in (home / "cache" / "funcnet").iterdir()] == ["cifar-100-binary"]


def test_a_download_that_breaks_off_leaves_nothing(
    home: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a set would be taken for the whole of it ever after."""
    base, folder = server
    files = {f"{k}.gz": gzip.compress(v) for k, v in IDX_CONTENT.items()}
    serve(folder, monkeypatch, "mnist", base, files)
    (folder / "t10k-labels-idx1-ubyte.gz").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="404"):
        load("mnist")
    assert list((home / "cache" / "funcnet").iterdir()) == []
    (folder / "elsewhere").rename(folder / "t10k-labels-idx1-ubyte.gz")
    assert load("mnist").test.y.tolist() == [1, 2]


def test_a_wrong_checksum_leaves_nothing(home: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base, folder = server
    serve(folder, monkeypatch, "cifar-100", base, {"cifar-100-binary.tar.gz": b"something"})
    (folder / "cifar-100-binary.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"downloading http.* failed: .*hash"):
        load("cifar-100")
    assert list((home / "cache" / "funcnet").iterdir()) == []


def test_without_a_network_the_way_out_is_said(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"mnist was found in none of .*cache/funcnet/mnist.* failed: .*--data or FUNCNET"
    ):
        load("mnist", home)


def test_published_classes_and_counts(data_folder: Path) -> None:
    """The real registry, on the real files."""
    assert (data_folder / "fashion-mnist").is_dir()
    names = (data_folder / "cifar-100-binary" / "fine_label_names.txt").read_text().split()
    assert registry._SOURCES["cifar-100"].classes == tuple(names)
    names = (data_folder / "cifar-10-batches-bin" / "batches.meta.txt").read_text().split()
    assert registry._SOURCES["cifar-10"].classes == tuple(names)


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
    channels = data.train.x.reshape(-1, len(mean))
    np.testing.assert_allclose(channels.mean(axis=0) / 255, mean, atol=6e-5)
    np.testing.assert_allclose(channels.std(axis=0) / 255, deviation, atol=6e-5)
    counts = np.bincount(data.train.y)
    assert (counts == len(data.train) / len(data.classes)).all()
