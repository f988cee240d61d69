"""Folders of images: a folder for each class, with the images of the class in it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.data.opening import FIRST_BYTES, opened, what_it_is
from funcnet.data.parts import TEST_SHARE, divided, expect_share, said_divided
from funcnet.shapes import Shape, whole_number
from funcnet.text import printable
from funcnet.tree import freeze

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_image_folder"]

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".webp")
_TRAIN, _TEST = "train", ("test", "val", "valid", "validation")
_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff")
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")

_Classes = dict[str, list[Path]]


def read_image_folder(
    path: Path | str, *, size: tuple[int, int] | None = None, test_share: float = TEST_SHARE
) -> Dataset:
    """The data set in a folder of images: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone.

    The folder for testing may also be called ``val``, ``valid`` or ``validation``. Where there is none, ``test_share``
    of the images of each class is held out for testing, always the same ones while the names of the files are the same.
    Classes are in the order of their names. The data set has the name of the folder.

    Images are PNG, JPEG, BMP, GIF (the first picture), PPM and its kin, and WebP, whose names end so. They become
    uint8 of shape (n, height, width, 3), or (n, height, width, 1) if all are grey. Transparency is left out, and so is
    what a camera says of its orientation. All have one size, unless ``size=(height, width)`` is given, to which they
    are resized by Pillow's bilinear filter, whatever their proportions.

    Other files beside images are skipped, and ``origin`` counts them. Hidden files are skipped, too.

    Raises:
        DataError: for a folder that is missing, cannot be read or is something else; for an image that is damaged,
            larger than Pillow's limit or of another size; for a class without images, or without training images; for
            images in no class's folder, or in a folder within it; for images that do not fit into the memory.
        ValueError: for a share that does not lie between 0 and 1, or a size that is not two numbers from 1 up.
    """
    folder, share = Path(path), expect_share(test_share)
    if size is not None:
        size = _expect_size(size)
    parts, skipped = _found(folder)
    classes = tuple(parts[0])
    files = [(file, classes.index(name)) for part in parts for name, images in part.items() for file in images]
    shape, resized = _common_shape([file for file, _ in files], size)
    pixels = _pixels([file for file, _ in files], shape, resized)
    labels = np.array([label for _, label in files], np.int64)
    kind = "Grey" if shape[2] == 1 else "Colour"
    origin = [f"images in the folder {_name(folder)}"]
    if len(parts) == 2:
        count = sum(map(len, parts[0].values()))
        train, test = Split(pixels[:count], labels[:count]), Split(pixels[count:], labels[count:])
    else:
        train, test = divided(Split(pixels, labels), share)
        origin.append(said_divided(train, test))
    if resized:
        origin.append("resized to one size")
    if skipped:
        more = f" and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
        origin.append(f"not read: {skipped[0].name}{more}")
    return Dataset(
        printable(_name(folder)), train, test, tuple(map(printable, classes)),
        description=f"{kind} pictures, {shape[0]} x {shape[1]} pixels (height x width)",
        origin=printable("; ".join(origin)),
    )  # fmt: skip


def _expect_size(size: Any) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"a size is (height, width), got {size!r:.40}")
    height, width = (whole_number("the height or width of images", length, 1) for length in size)
    return height, width


def _name(folder: Path) -> str:
    return os.path.basename(os.path.abspath(folder)) or "images"  # noqa: PTH100, PTH119 - Path keeps ..


def _found(folder: Path) -> tuple[list[_Classes], list[Path]]:
    """The images of each class, of the training and the testing part, or of both in one; and what is skipped."""
    try:
        entries = {entry.name.casefold(): entry for entry in _entries(folder) if entry.is_dir()}
        train = entries.get(_TRAIN)
        if train is None or not any(entry.is_dir() for entry in _entries(train)):  # it is a class called train
            whole, skipped = _classes(folder)
            return [whole], skipped
        parts, skipped = _classes(train)
        test = next((entries[name] for name in _TEST if name in entries), None)
        beside = [entry for entry in _entries(folder) if entry not in (train, test)]
        if test is None:
            return [parts], skipped + beside
        others, more = _classes(test)
        if unknown := [name for name in others if name not in parts]:
            raise DataError(f"{test / unknown[0]}: there is no class of this name to train on, in {train}")
        return [parts, others], skipped + more + beside
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or folder}: there is no such folder") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte, or letters that no name has
        where, said = getattr(error, "filename", None) or folder, getattr(error, "strerror", None) or error
        raise DataError(f"{where!s:.400}: the folder cannot be read ({said})") from None


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by its names, but for what is hidden or the system's own."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [e for e in entries if not e.name.startswith(".") and e.name.casefold() not in _OF_THE_SYSTEM]


def _classes(folder: Path) -> tuple[_Classes, list[Path]]:
    """The images of each class, from a folder with a folder for each; and what is skipped."""
    classes: _Classes = {}
    skipped: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            inside = _entries(entry)
            if within := [one for one in inside if one.is_dir()]:
                raise DataError(f"{within[0]}: expected images in the folder of a class, found a folder within it")
            classes[entry.name] = [one for one in inside if _is_image(one)]
            if not classes[entry.name]:
                found = f"found files such as {inside[0].name}" if inside else "found it empty"
                raise DataError(f"{entry}: expected images (files that end in {', '.join(_SUFFIXES)}), {found}")
            skipped += [one for one in inside if not _is_image(one)]
        elif _is_image(entry):
            raise DataError(f"{entry}: expected images in the folders of their classes, found this one outside of them")
        else:
            skipped.append(entry)
    if len(classes) < 2:
        found = f"the folder {next(iter(classes))} alone" if classes else "no folders"
        files = f" and files such as {skipped[0].name}" if skipped else ""
        raise DataError(
            f"{folder}: expected a folder for each class with its images in it, of two classes or more, found "
            f"{found}{files}"
        )
    return classes, skipped


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _common_shape(files: list[Path], size: tuple[int, int] | None) -> tuple[Shape, bool]:
    """(height, width, channels) of all images, and whether some are resized to that. Only headers are read."""
    channels, resized, first = 1, False, (0, 0)
    for file in files:
        with _opened_image(file) as image:
            found = (image.height, image.width)
            channels = channels if image.mode in _GREY else 3
        first = first if file is not files[0] else found
        resized = resized or found != (size or first)
        if size is None and resized:
            raise DataError(
                f"{file}: expected {first[0]} x {first[1]} pixels (height x width), as {files[0]} has, found "
                f"{found[0]} x {found[1]}. read_image_folder(path, size={first}) resizes all images"
            )
    return (*(size or first), channels), resized


def _pixels(files: list[Path], shape: Shape, resized: bool) -> Any:
    """The images (n, height, width, channels), read-only."""
    from PIL.Image import Resampling  # imported where they are needed
    from tqdm import tqdm

    try:
        pixels = np.empty((len(files), *shape), np.uint8)
    except (MemoryError, ValueError):  # ValueError: more bytes than any array can have
        raise DataError(
            f"{files[0].parent.parent}: {len(files):,} images of shape {shape} do not fit into the memory: a smaller "
            "size=(height, width) makes them smaller"
        ) from None
    # Where nobody watches, or it takes less than a second, there is no bar.
    for place, file in enumerate(tqdm(files, unit="image", disable=None, leave=False, delay=1, dynamic_ncols=True)):
        with _opened_image(file) as image:
            made = _in_bytes(image, "L" if shape[2] == 1 else "RGB")
            if resized:
                made = made.resize((shape[1], shape[0]), Resampling.BILINEAR)
            pixels[place] = np.asarray(made).reshape(shape)
    return freeze(pixels)


def _in_bytes(image: Image, mode: str) -> Image:
    """The image in grey (``L``) or in colours (``RGB``), of 8 bits."""
    from PIL.Image import fromarray

    if image.mode.startswith("I"):  # 16 bits, of which Pillow would take the lower ones
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = fromarray(((wide + 128) // 257).astype(np.uint8))
    return image.convert(mode)


@contextmanager
def _opened_image(path: Path) -> Iterator[Image]:
    """A context with an image, of which only the header is read. What is wrong with it is a ``DataError``."""
    from PIL import Image, UnidentifiedImageError  # imported where they are needed

    with opened(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of files that it reads nevertheless
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        head = file.read(FIRST_BYTES)
        file.seek(0)
        try:
            with Image.open(file, formats=_FORMATS) as image:
                yield image
        except DataError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise DataError(
                f"{path}: an image of more than {Image.MAX_IMAGE_PIXELS:,} pixels is not unpacked, since a small file "
                "can be made to fill the memory so: make it smaller, or take it away"
            ) from None
        except MemoryError:
            raise DataError(f"{path}: the image does not fit into the memory") from None
        except UnidentifiedImageError:
            what = " (it begins like one: it is damaged)" if head.startswith(_PICTURES) else what_it_is(head)
            raise DataError(f"{path}: expected an image ({', '.join(_FORMATS)}), found something else{what}") from None
        except Exception as error:  # of damaged files, Pillow raises many kinds
            raise DataError(
                f"{path}: the image is damaged or truncated ({error!s:.200}): replace it or take it away"
            ) from None
