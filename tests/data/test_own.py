from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import funcnet as fn
from funcnet.data import registry
from funcnet.data.dataset import DataError
from funcnet.data.own import read_dataset


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of images and an archive of arrays."""
    for name in ("a/1", "a/2", "b/1", "b/2", "b/3"):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 3), np.uint8)).save(path)
    np.savez(tmp_path / "arrays.npz", x=np.zeros((10, 3)), y=np.arange(10) % 2)
    return tmp_path / "pictures", tmp_path / "arrays.npz"


def test_what_lies_there_decides(paths: tuple[Path, Path]) -> None:
    folder, archive = paths
    assert read_dataset(folder, size=(2, 2)).train.in_shape == (2, 2, 1)
    assert len(read_dataset(archive, test_share=0.4).test) == 4
    with pytest.raises(ValueError, match=r"a size is for folders of images, and .* is no folder"):
        read_dataset(archive, size=(2, 2))
    with pytest.raises(DataError, match="nothing: there is no such file"):
        read_dataset(folder / "nothing")


def test_load_takes_paths(paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = paths
    assert fn.load(str(folder)).classes == ("a", "b")
    assert fn.load(archive).name == "arrays"
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert fn.load("pictures").name == fn.load("~/pictures").name == "pictures"
    folder.rename("glyphs")
    few = fn.load(archive)
    monkeypatch.setattr(registry, "glyphs_dataset", lambda key: few)
    assert fn.load("glyphs") is few
    assert fn.load("./glyphs").classes == fn.load(Path("glyphs")).classes == ("a", "b")


@pytest.mark.parametrize("name", ["mnits", "no/where.npz", Path("nothing"), "a\0b", "~nobody/x", "x" * 5000, ["mnist"]])
@pytest.mark.usefixtures("as_users_run")
def test_what_is_neither_is_refused(name: object) -> None:
    with pytest.raises(
        DataError, match=r"there is no data set .*; there are glyphs, .*, and no folder or .npz file has"
    ):
        fn.load(name)
