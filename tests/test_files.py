from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from funcnet.files import make_folder, write_whole


def test_text_and_bytes(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "é\n")
    write_whole(str(tmp_path / "b"), b"\r\n")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == ("é\n".encode(), b"\r\n")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "a longer text")
    write_whole(tmp_path / "a", "short")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "short")]


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_no_rest(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    if where == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    content = object() if where == "write" else "new"
    with pytest.raises((OSError, TypeError)):
        write_whole(tmp_path / "a", content)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_threads_may_write_one_file(tmp_path: Path) -> None:
    """Whoever reads it sees what one of them wrote."""

    def write_and_read(letter: str) -> set[str]:
        seen = set()
        for _ in range(50):
            write_whole(tmp_path / "a", letter * 10_000)
            seen.add((tmp_path / "a").read_text())
        return seen

    with ThreadPoolExecutor(4) as threads:
        seen = set().union(*threads.map(write_and_read, "abcd"))
    assert seen <= {letter * 10_000 for letter in "abcd"}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a", "x")


def test_a_folder_that_nothing_can_be_made_in_is_named() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no folder in which nobody may make files")
    with pytest.raises(OSError, match=r"'/proc/self'"):
        make_folder(Path("/proc/self"))


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no/such") as error:
        write_whole(tmp_path / "no" / "such", "text")
    assert error.value.filename == str(tmp_path / "no" / "such")
