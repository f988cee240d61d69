import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from funcnet.data.dataset import DataError
from funcnet.data.images import read_image_folder

PIXELS = np.random.Generator(np.random.Philox(1)).integers(0, 256, (40, 6, 5, 3), np.uint8)


def put(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images of each of two classes, in colours."""
    for place in range(20):
        put(tmp_path / "pets" / ("dog", "cat")[place % 2] / f"{place:02d}.png", PIXELS[place])
    return tmp_path / "pets"


def halved(folder: Path) -> None:
    """The folder with parts for training and testing."""
    for part, numbers in (("train", range(16)), ("test", range(16, 20))):
        for number in numbers:
            name = f"{('dog', 'cat')[number % 2]}/{number:02d}.png"
            (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / name, folder / part / name)
    shutil.rmtree(folder / "cat")
    shutil.rmtree(folder / "dog")


def test_parts_are_folders(folder: Path) -> None:
    halved(folder)
    data = read_image_folder(folder)
    assert (data.name, data.classes) == ("pets", ("cat", "dog"))
    assert np.array_equal(data.train.x, PIXELS[[*range(1, 16, 2), *range(0, 16, 2)]])
    assert np.array_equal(data.test.x, PIXELS[[17, 19, 16, 18]])
    assert data.train.y.tolist() == [0] * 8 + [1] * 8
    assert data.test.y.tolist() == [0, 0, 1, 1]
    assert data.description == "Colour pictures, 6 x 5 pixels (height x width)"
    assert data.origin == "images in the folder pets"
    assert data.train.x.dtype == np.uint8
    assert not data.train.x.flags.writeable


def test_without_parts_a_share_of_each_class_is_held_out(folder: Path) -> None:
    data, again = read_image_folder(folder, test_share=0.3), read_image_folder(str(folder), test_share=0.3)
    assert np.bincount(data.test.y).tolist() == [3, 3]
    assert np.array_equal(data.test.x, again.test.x)
    both = [*data.train.x, *data.test.x]
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in PIXELS[:20])
    place_of = {x.tobytes(): place for place, x in enumerate(PIXELS)}
    for part in (data.train, data.test):
        assert [1 - place_of[x.tobytes()] % 2 for x in part.x] == part.y.tolist()
    assert data.origin == (
        "images in the folder pets; 6 of its 20 examples, the same share of each class, held out at random for testing"
    )


def test_a_folder_for_testing_may_have_another_name(folder: Path) -> None:
    halved(folder)
    (folder / "train").rename(folder / "Train")
    (folder / "test").rename(folder / "val")
    assert len(read_image_folder(folder).test) == 4
    shutil.rmtree(folder / "val")
    assert len(read_image_folder(folder).test) == 4  # of eight and eight
    assert "held out at random" in read_image_folder(folder).origin


def test_a_class_may_be_called_train(folder: Path) -> None:
    (folder / "dog").rename(folder / "train")
    assert read_image_folder(folder).classes == ("cat", "train")


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "PNG", "webp", "jpg", "gif"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    """Those that lose nothing give the pixels back; the others what Pillow makes of them."""
    options = {"lossless": True} if suffix == "webp" else {}
    read = one_of_each(tmp_path, Image.fromarray(PIXELS[0]), suffix, **options)
    with Image.open(tmp_path / "set" / "a" / f"1.{suffix}") as image:
        assert np.array_equal(read, np.asarray(image.convert("RGB")))
    assert np.array_equal(read, PIXELS[0]) or suffix in ("jpg", "gif")


def one_of_each(tmp_path: Path, image: Image.Image, suffix: str, **options: object) -> np.ndarray:
    """An image as it is read."""
    for name in "ab":
        for number in "12":
            path = tmp_path / "set" / name / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **options)
    return read_image_folder(tmp_path / "set").train.x[0]


def test_images_are_grey_if_all_are(tmp_path: Path, folder: Path) -> None:
    grey = PIXELS[0, :, :, 0]
    assert np.array_equal(one_of_each(tmp_path, Image.fromarray(grey), "png"), grey[..., None])
    bilevel = one_of_each(tmp_path, Image.fromarray(grey > 100), "png")
    assert np.array_equal(bilevel[..., 0], np.where(grey > 100, 255, 0))
    put(folder / "cat" / "grey.png", grey)
    data = read_image_folder(folder)
    assert any(np.array_equal(x, np.repeat(grey[..., None], 3, 2)) for x in [*data.train.x, *data.test.x])


def test_16_bits_are_brought_to_8(tmp_path: Path) -> None:
    """Pillow itself would take all above 255 for white."""
    grey = PIXELS[0, :, :, 0]
    for suffix in ("png", "pgm"):
        read = one_of_each(tmp_path, Image.fromarray(grey.astype(np.uint16) * 257 + 100), suffix)
        assert np.array_equal(read[..., 0], grey)
        shutil.rmtree(tmp_path / "set")


def test_colours_of_a_palette_and_transparency(tmp_path: Path) -> None:
    """No warning of Pillow's comes out, such as the one of palettes with transparency in bytes."""
    image = Image.fromarray(PIXELS[0]).quantize(30)
    colours = np.asarray(image.convert("RGB"))
    assert np.array_equal(one_of_each(tmp_path, image, "png", transparency=bytes(range(30))), colours)
    image = Image.fromarray(np.concatenate([PIXELS[0], PIXELS[1, :, :, :1]], axis=2))
    assert np.array_equal(one_of_each(tmp_path, image, "png"), PIXELS[0])


def test_of_a_moving_picture_the_first_is_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((6, 5), level, np.uint8)) for level in (10, 200))
    read = one_of_each(tmp_path, first, "gif", save_all=True, append_images=[second])
    assert (read == 10).all()


def test_all_have_one_size_or_are_resized(folder: Path) -> None:
    wide = put(folder / "dog" / "wide.png", np.tile(np.array([[0, 200]], np.uint8).repeat(6, 1)[..., None], (4, 1, 3)))
    with pytest.raises(DataError, match=r"wide.png: expected 6 x 5 pixels .* found 4 x 12. .*size=\(6, 5\)\) resizes"):
        read_image_folder(folder)
    data = read_image_folder(folder, size=(3, 4))
    assert data.train.in_shape == data.test.in_shape == (3, 4, 3)
    assert "; resized to one size" in data.origin
    resized = np.asarray(Image.open(wide).resize((4, 3), Image.Resampling.BILINEAR))
    assert any(np.array_equal(x, resized) for x in [*data.train.x, *data.test.x])
    wide.unlink()
    assert "resized" not in read_image_folder(folder, size=(6, 5)).origin


@pytest.mark.parametrize("size", [(0, 5), (5,), 5, "ab", (1.5, 2)])
@pytest.mark.usefixtures("as_users_run")
def test_a_size_is_two_lengths(folder: Path, size: object) -> None:
    with pytest.raises(ValueError, match=r"a size is \(height, width\)|whole number"):
        read_image_folder(folder, size=size)


def test_other_files_are_skipped_and_counted(folder: Path) -> None:
    for name in (".DS_Store", "cat/Thumbs.db", ".git/x", "cat/.hidden.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert "not read" not in read_image_folder(folder).origin
    for name in ("README.md", "cat/notes.txt"):
        (folder / name).write_text("notes")
    assert read_image_folder(folder).origin.endswith("; not read: README.md and 1 more")
    (folder / "cat/notes.txt").unlink()
    halved(folder)
    (folder / "raw").mkdir()
    assert read_image_folder(folder).origin.endswith("; not read: README.md and 1 more")


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


def bomb(path: Path) -> None:
    """A header that says 30,000 x 30,000 pixels."""
    content = path.read_bytes()
    path.write_bytes(content[:16] + (30_000).to_bytes(4, "big") * 2 + content[24:])


FAULTS = {
    "damaged": (lambda f: damaged(f / "cat" / "01.png"), "cat/01.png: the image is damaged or truncated"),
    "a bomb": (lambda f: bomb(f / "cat" / "01.png"), "cat/01.png: .* (pixels is not unpacked|damaged)"),
    "a web page": (
        lambda f: (f / "cat" / "01.png").write_text("<html>"),
        "cat/01.png: expected an image .*, found something else .it is a web page",
    ),
    "a broken signature": (
        lambda f: (f / "cat" / "01.png").write_bytes(b"\x89PNG\r\n"),
        "found something else .it begins like one: it is damaged",
    ),
    "a pipe": (lambda f: os.mkfifo(f / "cat" / "0.png"), "0.png: cannot be read .it is a pipe, not a file"),
    "a loop": (
        lambda f: (f / "cat" / "0.png").symlink_to(f / "cat" / "0.png"),
        "0.png: cannot be read .Too many levels of symbolic links",
    ),
    "a loop of folders": (
        lambda f: (f / "cow").symlink_to(f),
        "cow/cat: expected images in the folder of a class, found a folder within it",
    ),
    "no folder": (shutil.rmtree, "pets: there is no such folder"),
    "an empty class": (lambda f: (f / "cow").mkdir(), "cow: expected images .*, found it empty"),
    "a class without images": (
        lambda f: [path.rename(path.with_suffix(".tif")) for path in (f / "cat").iterdir()],
        r"cat: expected images \(files that end in .png, .*, found files such as 01.tif",
    ),
    "no classes": (
        lambda f: [shutil.rmtree(f / name) for name in ("cat", "dog")],
        "pets: expected a folder for each class .*, found no folders",
    ),
    "one class": (lambda f: shutil.rmtree(f / "cat"), "two classes or more, found the folder dog alone"),
    "no class's": (
        lambda f: (f / "cat" / "01.png").rename(f / "01.png"),
        "pets/01.png: expected images in the folders of their classes, found this one outside of them",
    ),
    "a class to test only": (
        lambda f: (halved(f), shutil.copytree(f / "test" / "cat", f / "test" / "cow")),
        "test/cow: there is no class of this name to train on, in .*train",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_named(folder: Path, name: str) -> None:
    change, message = FAULTS[name]
    change(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_image_folder(folder)
    assert str(caught.value).startswith(str(folder))


def test_pillows_limit_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between once and twice the limit Pillow only warns, above twice it refuses."""
    for limit in (29, 14):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=f"01.png: an image of more than {limit} pixels is not unpacked"):
            read_image_folder(folder)


def test_images_that_do_not_fit_into_the_memory(folder: Path) -> None:
    with pytest.raises(DataError, match=r"20 images of shape \(100000000, 100000000, 3\) do not fit into the memory"):
        read_image_folder(folder, size=(10**8, 10**8))


@pytest.mark.parametrize("path", ["a\0b", "a" * 5000, "/dev/null"])
def test_what_names_no_folder_is_refused(path: str) -> None:
    with pytest.raises(DataError, match="the folder cannot be read"):
        read_image_folder(path)


def test_names_in_another_encoding(folder: Path) -> None:
    cow = os.fsencode(folder / "cow") + b"\xff"
    shutil.copytree(os.fsencode(folder / "cat"), cow)
    assert read_image_folder(folder).classes == ("cat", "cow\\udcff", "dog")


def test_a_folder_is_named_also_by_dots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "cat")
    assert read_image_folder("..").name == "pets"
