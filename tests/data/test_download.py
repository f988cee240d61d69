"""Downloads from a server on this machine that breaks off, stalls, lies and cheats."""

import functools
import gzip
import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest

from funcnet.data import download, registry
from funcnet.data.dataset import DataError
from funcnet.data.download import Download, bring
from funcnet.data.registry import load

CONTENT = bytes(range(256)) * 1000
Answer = Callable[[BaseHTTPRequestHandler, int], None]


def send(handler: BaseHTTPRequestHandler, content: bytes, *, says: int | None = None, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if says is None else says))
    handler.end_headers()
    handler.wfile.write(content)


def range_of(handler: BaseHTTPRequestHandler) -> int:
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


class Server:
    """Answers requests by ``answer(handler, number of the request)``, and keeps what was asked for."""

    def __init__(self) -> None:
        self.answer: Answer = lambda handler, _: send(handler, CONTENT)
        self.asked: list[tuple[str, str | None]] = []
        self.stop = threading.Event()

    @functools.cached_property
    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Range")))
                self.close_connection = True
                server.answer(self, len(server.asked))

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), made.handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go away
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield made, f"http://127.0.0.1:{http.server_address[1]}/"
        made.stop.set()
        http.shutdown()
        thread.join()


def one(content: bytes = CONTENT, file: str = "file") -> tuple[Download, ...]:
    return (Download(file, len(content), hashlib.md5(content).hexdigest()),)


def test_what_breaks_off_goes_on_where_it_was(server: tuple[Server, str], tmp_path: Path) -> None:
    made, base = server

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        begin = range_of(handler)
        send(handler, CONTENT[begin : begin + 98_304], says=len(CONTENT) - begin, status=206 if begin else 200)

    made.answer = answer
    bring(base, one(), (), tmp_path / "set")
    assert (tmp_path / "set" / "file").read_bytes() == CONTENT
    assert [asked for _, asked in made.asked] == [None, "bytes=98304-", "bytes=196608-"]


def test_a_server_that_cannot_go_on_begins_again(server: tuple[Server, str], tmp_path: Path) -> None:
    made, base = server
    made.answer = lambda handler, number: send(handler, CONTENT[: 100_000 * number], says=len(CONTENT))
    bring(base, one(), (), tmp_path / "set")
    assert (tmp_path / "set" / "file").read_bytes() == CONTENT
    assert len(made.asked) == 3


def stall(handler: BaseHTTPRequestHandler, made: Server) -> None:
    send(handler, CONTENT[:1000], says=len(CONTENT))
    handler.wfile.flush()
    made.stop.wait(20)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(CONTENT)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda h, m: send(h, b"no", status=404), "127.0.0.1:.* answers: 404 Client Error"),
        (lambda h, m: send(h, CONTENT[:-1]), r"what 127.* sent is not the published file, but 255,999 bytes with"),
        (lambda h, m: send(h, CONTENT[:-1] + b"!"), "is not the published file, but 256,000 bytes with the MD5"),
        (lambda h, m: send(h, CONTENT + b"!"), "sends more than the 256,000 bytes of file"),
        (lambda h, m: send(h, b"", says=0), "is not the published file, but 0 bytes"),
        (lambda h, m: send(h, b"x", says=10**15), "there is no connection to|not send the whole"),
        (lambda h, m: endless(h), "sends more than the 256,000 bytes of file"),
        (lambda h, m: stall(h, m), "127.* sent nothing for 0.3 seconds"),
        (lambda h, m: m.stop.wait(20), "127.* sent nothing for 0.3 seconds"),
        (lambda h, m: h.wfile.write(b"nonsense\r\n\r\n"), "there is no connection to"),
        (lambda h, m: None, "there is no connection to"),
    ],
    ids=[
        "missing", "truncated", "tampered", "too long", "nothing", "a lie about the length", "endless", "stalled",
        "mute", "no HTTP", "closed",
    ],
)  # fmt: skip
@pytest.mark.parametrize("there", [False, True])
def test_what_is_not_the_file_leaves_nothing(
    server: tuple[Server, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler, Server], None],
    message: str,
    there: bool,
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.3)
    made, base = server
    made.answer = lambda handler, _: answer(handler, made)
    if there:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "notes").write_text("mine")
    with pytest.raises(DataError, match=message):
        bring(base, one(), (), tmp_path / "set")
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert left == (["set", "set/notes"] if there else [])


def test_a_folder_with_other_files_keeps_them(server: tuple[Server, str], tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes").write_text("mine")
    (tmp_path / "set" / "file").write_text("of another time")
    bring(server[1], one(), (), tmp_path / "set")
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["file", "notes"]
    assert (tmp_path / "set" / "file").read_bytes() == CONTENT


def test_a_place_that_cannot_be_used_is_seen_before_the_download(server: tuple[Server, str], tmp_path: Path) -> None:
    made, base = server
    (tmp_path / "file").write_text("")
    for target, message in (("file", "file: it is not a folder"), ("file/set", "file: "), ("x" * 300, "xxx")):
        with pytest.raises(DataError, match=message):
            bring(base, one(), (), tmp_path / target)
    assert made.asked == []


def test_two_at_once_bring_one_set(server: tuple[Server, str], tmp_path: Path) -> None:
    made, base = server
    both = threading.Barrier(2, timeout=20)

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        both.wait()
        send(handler, CONTENT)

    made.answer = answer
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: bring(base, one(), (), tmp_path / "set"), range(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [path.read_bytes() for path in (tmp_path / "set").iterdir()] == [CONTENT]


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def bring_archive(server: tuple[Server, str], content: bytes, target: Path) -> None:
    made, base = server
    made.answer = lambda handler, _: send(handler, content)
    bring(base, one(content, "set.tar.gz"), ("train.bin", "test.bin"), target)


def test_an_archive_puts_nothing_anywhere_else(server: tuple[Server, str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    wanted = [(member("set/train.bin"), b"1"), (member("/etc/deep/test.bin"), b"2")]
    evil = [
        (member("../evil"), b"!"),
        (member("/" + str(tmp_path / "out" / "evil").lstrip("/")), b"!"),
        (member("set/link", tarfile.SYMTYPE, str(tmp_path / "out")), b""),
        (member("set/link/evil"), b"!"),
        (member("test.bin", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("train.bin", tarfile.LNKTYPE, "../../evil"), b""),
        (member("train.bin", tarfile.FIFOTYPE), b""),
        (member("test.bin", tarfile.CHRTYPE), b""),
    ]
    bring_archive(server, archive(*evil, *wanted, *evil), tmp_path / "in" / "set")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "in", "in/set", "in/set/test.bin", "in/set/train.bin", "out",
    ]  # fmt: skip
    assert (tmp_path / "in" / "set" / "train.bin").read_bytes() == b"1"
    assert not (tmp_path / "in" / "set" / "test.bin").is_symlink()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "set.tar.gz: expected a .tar.gz archive, found something else"),
        (gzip.compress(b"no archive"), "expected a .tar.gz archive, found something else"),
        (
            archive((member("train.bin"), b"1"))[:-9],
            "expected a .tar.gz archive, found something else|expected an archive with",
        ),
        (archive((member("train.bin"), b"1")), "expected an archive with test.bin, found none of that name"),
        (archive((member("train.bin"), b"1"), (member("a/train.bin"), b"2")), "train.bin: File exists"),
    ],
    ids=["no gzip", "no tar", "truncated", "a file lacks", "a file twice"],
)
def test_an_archive_of_something_else_leaves_nothing(
    server: tuple[Server, str], tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bring_archive(server, content, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_member_larger_than_any_file_of_a_set_is_not_written(
    server: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_LARGEST", 3)
    with pytest.raises(DataError, match=r"set.tar.gz: its train.bin has 4 bytes"):
        bring_archive(server, archive((member("train.bin"), b"1234")), tmp_path / "set")


# The data sets that have a name.

IDX = {
    "train-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(3 * 784),
    "train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 9]),
    "t10k-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(2 * 784),
    "t10k-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2]),
}
PACKED = {f"{name}.gz": gzip.compress(content) for name, content in IDX.items()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[Server, str]) -> Path:
    """A small MNIST on the server, and nothing on this machine."""
    made, base = server
    monkeypatch.delenv("FUNCNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    downloads = tuple(one(content, file)[0] for file, content in PACKED.items())
    small = attrs.evolve(registry._SOURCES["mnist"], counts=(3, 2), base=base, downloads=downloads)
    monkeypatch.setitem(registry._SOURCES, "mnist", small)
    made.answer = lambda handler, _: send(handler, PACKED[handler.path.lstrip("/")])
    return tmp_path


def test_what_is_nowhere_is_downloaded_once(
    home: Path, server: tuple[Server, str], capfd: pytest.CaptureFixture[str]
) -> None:
    (home / "named").mkdir()
    assert load("mnist", home / "named").train.y.tolist() == [5, 0, 9]
    assert "100%" in capfd.readouterr().err
    assert sorted(path.name for path in (home / "named" / "mnist").iterdir()) == sorted(PACKED)
    server[0].answer = lambda handler, _: send(handler, b"", status=500)
    assert load("mnist", home / "named").test.y.tolist() == [1, 2]


@pytest.mark.parametrize("empty", ["named/mnist", "named/MNIST", "mnist"])
def test_a_folder_of_the_sets_name_is_filled(home: Path, empty: str) -> None:
    """The one that is named, if that is its name."""
    (home / empty).mkdir(parents=True)
    (home / empty / "README").write_text("mine")
    load("mnist", home / empty)
    assert sorted(path.name for path in (home / empty).iterdir()) == sorted([*PACKED, "README"])


def test_the_cache_is_the_last_place(home: Path) -> None:
    assert len(load("mnist").train) == 3
    assert [path.name for path in (home / "cache" / "funcnet").iterdir()] == ["mnist"]


def test_one_file_that_is_missing_leaves_nothing(home: Path, server: tuple[Server, str]) -> None:
    """Half a set would be in the way of the whole."""
    made, _ = server
    before = made.answer
    made.answer = lambda handler, n: before(handler, n) if n < 4 else send(handler, b"", status=404)
    with pytest.raises(DataError, match=r"mnist is not in .*, and cannot be downloaded \(127.* answers: 404"):
        load("mnist")
    assert list((home / "cache" / "funcnet").iterdir()) == []
    made.answer = before
    assert load("mnist").test.y.tolist() == [1, 2]


def test_an_archive_is_unpacked_into_the_cache(
    home: Path, server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, base = server
    records = bytes([4, 99]) + bytes(3072) + bytes([19, 7]) + bytes(3072)
    content = archive(
        (member("cifar-100-binary/train.bin"), records), (member("cifar-100-binary/test.bin"), records[:3074])
    )
    downloads = one(content, "cifar-100-binary.tar.gz")
    small = attrs.evolve(registry._SOURCES["cifar-100"], counts=(2, 1), base=base, downloads=downloads)
    monkeypatch.setitem(registry._SOURCES, "cifar-100", small)
    made.answer = lambda handler, _: send(handler, content)
    assert load("cifar-100").train.y.tolist() == [99, 7]
    assert [p.name for p in (home / "cache" / "funcnet").iterdir()] == ["cifar-100-binary"]


def test_without_a_network_one_sentence_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = attrs.evolve(registry._SOURCES["mnist"], base="http://127.0.0.1:9/")
    monkeypatch.setitem(registry._SOURCES, "mnist", offline)
    began = time.monotonic()
    with pytest.raises(DataError) as caught:
        load("mnist", home)
    assert str(caught.value) == (
        f"mnist is not in {home} or {home}/cache/funcnet, and cannot be downloaded (there is no connection to "
        "127.0.0.1:9): on a machine with a network download train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz from http://127.0.0.1:9/ into a folder mnist, and name "
        "the folder that holds mnist with --data or FUNCNET_DATA"
    )
    assert time.monotonic() - began < 60
