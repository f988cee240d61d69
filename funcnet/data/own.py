"""Data sets of one's own, by their paths."""

from __future__ import annotations

from pathlib import Path

from funcnet.data.dataset import Dataset
from funcnet.data.images import read_image_folder
from funcnet.data.npz import read_npz
from funcnet.data.parts import TEST_SHARE

__all__ = ["read_dataset"]


def read_dataset(path: Path | str, *, size: tuple[int, int] | None = None, test_share: float = TEST_SHARE) -> Dataset:
    """The data set at ``path``: a folder of images (``read_image_folder``) or a ``.npz`` file (``read_npz``).

    Raises:
        DataError: as these.
        ValueError: as these, and for the size of what is no folder.
    """
    path = Path(path)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # of which the reader says more
        is_folder = False
    if is_folder:
        return read_image_folder(path, size=size, test_share=test_share)
    if size is not None:
        raise ValueError(f"a size is for folders of images, and {path} is no folder")
    return read_npz(path, test_share=test_share)
