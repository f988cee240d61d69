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
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
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
