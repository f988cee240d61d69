import io
import signal
import sys

import pytest

from funcnet.cli import main
from funcnet.cli.terminal import complain, interruptible, prepare_streams, room, say, text

WORDS = "\nThe quick brown fox jumps over the lazy dog.\n  Wrote /a/path/longer/than/any/narrow/terminal/is.txt, all."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interruptible() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted() == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80])
def test_lines_are_broken_between_words(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    say(WORDS)
    complain(WORDS)
    out, err = capsys.readouterr()
    assert out == err
    assert all(len(line) <= width or len(line.split()) == 1 for line in out.splitlines())
    assert out.split() == WORDS.split()
    assert out.startswith("\nThe quick brown")
    assert any(line.startswith("  /a/path/") or "Wrote /a/path/" in line for line in out.splitlines())


def test_lines_of_a_file_or_a_pipe_are_not_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert room(sys.stdout) is None
    say("word " * 50)
    assert capsys.readouterr().out == "word " * 50 + "\n"


def test_lines_with_emphasis_are_as_wide_as_their_makers_made_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    say("\x1b[1mone two three\x1b[0m")
    assert capsys.readouterr().out == "\x1b[1mone two three\x1b[0m\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_the_encoding_lacks_is_written_with_a_backslash(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(written, "ascii"))
    prepare_streams()
    print("µ猫\udcff", file=getattr(sys, name), flush=True)
    assert written.getvalue().strip() == b"\\xb5\\u732b\\udcff"


def test_a_closed_stream_takes_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    prepare_streams()
    say("to nobody \udcff")
    sys.stdout.close()


def test_text_that_the_locale_could_not_decode_is_read_as_utf8() -> None:
    assert text("µ猫") == "µ猫"
    assert text("a µ".encode().decode("ascii", "surrogateescape")) == "a µ"
    assert text(b"a\xff".decode("ascii", "surrogateescape")) == "a\\xff"


@pytest.mark.parametrize("width", [20, 30, 40])
def test_usage_and_errors_fit_a_narrow_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in (["report"], ["lab-report", "nothing"], ["check", "--seed", "x"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert main(["report", "nowhere.json", "--out", "x"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)
    assert "error: nowhere.json: No such file" in " ".join(lines)
