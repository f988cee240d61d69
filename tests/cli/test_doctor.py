import os
import subprocess

import pytest

from funcnet.cli import doctor, main
from funcnet.environment import PINS


def test_what_does_the_products_and_how_fast(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines() if ":" in line)
    assert lines["BLAS"].strip()
    rate, unit = lines["a float32 product of 2048 cubed"].split()
    assert (float(rate) > 0, unit) == (True, "GFLOP/s")


@pytest.mark.parametrize(
    ("pins", "free", "said"),
    [
        (
            ["OPENBLAS_CORETYPE"],
            111.0,
            "OPENBLAS_CORETYPE holds the BLAS back: without it, products reach 111 GFLOP/s. Unset OPENBLAS_CORETYPE.",
        ),
        (
            ["OPENBLAS_CORETYPE"],
            109.0,
            "OPENBLAS_CORETYPE is set, and makes no difference: without it, products reach 109 GFLOP/s.",
        ),
        (
            ["OPENBLAS_CORETYPE"],
            90.0,
            "OPENBLAS_CORETYPE makes products faster: without it, they reach 90 GFLOP/s.",
        ),
        (["OPENBLAS_CORETYPE"], None, "OPENBLAS_CORETYPE is needed: without it, products kill a process here."),
        (
            ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"],
            100.0,
            "OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are set, and make no difference: without them, products reach 100 "
            "GFLOP/s.",
        ),
    ],
)
def test_a_pin_is_named_and_weighed(
    pins: list[str], free: float | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pin in PINS:
        monkeypatch.delenv(pin, raising=False)
    for pin in pins:
        monkeypatch.setenv(pin, "Haswell")
    monkeypatch.setattr(doctor, "_survives", lambda: True)
    monkeypatch.setattr(doctor, "product_rate", lambda: 100.0)
    monkeypatch.setattr(doctor, "_rate_without", lambda pinned: free)
    monkeypatch.setattr(doctor, "_blas_threads", lambda: ("openblas", 1))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_the_rate_without_a_pin_is_that_of_a_process_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that OpenBLAS would complain about, were it still there."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nonsense")
    assert doctor._rate_without(["OPENBLAS_CORETYPE"]) > 0


def test_there_is_no_rate_where_the_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, -11, b""))
    assert doctor._rate_without([]) is None


def test_a_blas_that_crashes_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, -11)

    monkeypatch.setattr(subprocess, "run", killed)
    monkeypatch.setattr(doctor, "product_rate", lambda: pytest.fail("it would have been killed"))
    assert main(["doctor"]) == 1
    assert "kill a process here: the BLAS is broken with these kernels" in capsys.readouterr().err


def test_the_process_without_the_pins_has_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def told(command: list[str], *, env: dict[str, str], **options: object) -> subprocess.CompletedProcess[bytes]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 0, stdout=b"7.0")

    monkeypatch.setattr(subprocess, "run", told)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    assert doctor._rate_without(["OPENBLAS_CORETYPE"]) == 7
    assert "OPENBLAS_CORETYPE" not in seen
    assert seen["OPENBLAS_L2_SIZE"] == "1"


def said_by_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **answers: object) -> str:
    for pin in PINS:
        monkeypatch.delenv(pin, raising=False)
    usual = {"_survives": True, "product_rate": 100.0, "affinity": 4, "cpu_quota": None, "threads_rate": 30.0}
    for name, answer in {**usual, "_blas_threads": ("openblas", 4), "_measured": 31.0, **answers}.items():
        monkeypatch.setattr(doctor, name, lambda *arguments, answer=answer: answer)
    assert main(["doctor"]) == 0
    return capsys.readouterr().out.partition("GFLOP/s\n")[2]


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (
            60.1,
            "and 60.1 GFLOP/s with OPENBLAS_NUM_THREADS=1. Set OPENBLAS_NUM_THREADS=1 where several threads, or "
            "several processes on these processors, compute.",
        ),
        (59.9, "and 59.9 GFLOP/s with OPENBLAS_NUM_THREADS=1. OpenBLAS's own threads do no harm beside others."),
        (None, "With OPENBLAS_NUM_THREADS=1, products kill a process here."),
    ],
)
def test_threads_beside_those_of_openblas(
    alone: float | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said_by_doctor(monkeypatch, capsys, _measured=alone)
    assert "8 threads that compute products of 256 cubed at once reach 30.0 GFLOP/s with 4 threads of OpenBLAS" in text
    assert text.endswith(f"{said}\n")


@pytest.mark.parametrize("blas", [("openblas", 1), ("mkl", 4), ("", 0)])
def test_other_blas_and_single_threads_are_not_measured_so(
    blas: tuple[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said_by_doctor(monkeypatch, capsys, _blas_threads=blas) == ""


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"cpu_quota": 1.5},
            "The BLAS uses 4 threads, but the CPU quota of its control group gives this process 1.5 processors. "
            "Threads in excess of them only wait for one another. Set OPENBLAS_NUM_THREADS=1.",
        ),
        ({"cpu_quota": 0.5}, "gives this process 0.5 processors."),
        ({"cpu_quota": 3.0, "_blas_threads": ("mkl", 4)}, "Set MKL_NUM_THREADS=3."),
        ({"affinity": 1}, "its CPU affinity gives this process 1 processor."),
    ],
)
def test_more_threads_than_processors(
    answers: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in said_by_doctor(monkeypatch, capsys, **answers)


@pytest.mark.parametrize("answers", [{"cpu_quota": 4.0}, {"affinity": None}, {}])
def test_as_many_threads_as_processors_are_fine(
    answers: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "The BLAS uses" not in said_by_doctor(monkeypatch, capsys, **answers)


def test_the_rate_of_threads_is_measured_in_a_process_of_that_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 0.01)
    assert doctor.threads_rate() > 0
    assert doctor._measured("threads_rate", {**os.environ, "OPENBLAS_NUM_THREADS": "1"}) > 0


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    said_by_doctor(monkeypatch, capsys)
    doctor._tell("BLAS", "openblas 0.3.31, SkylakeX kernels, 2 threads")
    out = capsys.readouterr().out
    assert out == "BLAS:\n  openblas 0.3.31, SkylakeX\n  kernels, 2 threads\n"
