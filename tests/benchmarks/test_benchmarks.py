"""That the benchmarks still run; what they measure is theirs to say."""

import math
import re
import shutil
import sys
from pathlib import Path

import attrs
import compare
import peers
import pytest
import scale
from compare import BEFORE, Row, expect_one_arithmetic, page, plot
from scale import line
from turns import CHECKOUT, Point, Timing, ratio, take_turns
from workloads import ADAM, Problem, Workload, workload_of

import funcnet as fn

SMALL = Workload((6, 5, 3), 4, 10)
WITHOUT_ADAM = {"__init__.pyi": ("from .optimizers import adam as adam\n", "")}


def test_a_comparison_from_processes_to_page() -> None:
    names = ["products", "products_laid_out", "funcnet"]
    timings = take_turns([Point(peer, SMALL) for peer in names], ["epoch", "steps"], 2)
    assert [timing.point.peer for timing in timings] == names
    assert all(len(timing.seconds[kind]) == 2 for timing in timings for kind in ("epoch", "steps"))
    assert all(timing.peak > 10 * 2**20 for timing in timings)
    assert math.isfinite(timings[-1].loss)
    rows = [Row(kind, SMALL, {timing.point.peer: timing for timing in timings}) for kind in ("epoch", "steps")]
    text = page(rows, [], [], names[:2], 2, (0.1, 1.5))
    assert "| epoch: 6-5-3, batch 4 |" in text
    assert "takes 1.50 times as long" in text
    assert "(benchmarks.png)" in text
    assert "(benchmarks.png)" not in page([], rows[1:], [], names[:2], 2, (0.1, 1.5))  # which is drawn of no rows
    assert len(plot(rows, names[:2]).axes) == 1


def another_checkout(folder: Path, replaced: dict[str, tuple[str, str]]) -> Path:
    """A copy of the package, with a text replaced in some of its files."""
    shutil.copytree(CHECKOUT / "funcnet", folder / "funcnet", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in replaced.items():
        path = folder / "funcnet" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_another_checkout_is_measured_beside_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    home = another_checkout(tmp_path / "old", {"version.py": (fn.__version__, "0.0.1"), **WITHOUT_ADAM})
    for name in ("INFERENCE", "ACTIVATIONS"):
        monkeypatch.setattr(compare, name, ())
    monkeypatch.setattr(compare, "TRAINING", (SMALL,))
    monkeypatch.setattr(compare, "_SHORT", 2)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["compare.py", "--against", str(home), "--rounds", "2", "--out", str(out)])
    compare.main()
    assert [path.name for path in out.iterdir()] == ["benchmarks_against.md"]
    text = (out / "benchmarks_against.md").read_text(encoding="utf-8")
    number = r"-?\d+\.\d\d"  # the lower quartile of two rounds lies below both
    assert re.search(rf"^\| epoch: 6-5-3, batch 4 +\| +{number} \({number} to {number}\) \|$", text, re.MULTILINE)
    assert re.search(r"^\| steps: 6-5-3, batch 4 ", text, re.MULTILINE)
    assert f"| funcnet {fn.__version__} " in text
    assert "| funcnet 0.0.1 " in text
    assert "no such part: adam, 784-256-10; adam, 784-1024-10." in text
    assert str(home) not in text
    assert "steps: 6-5-3, batch 4: new over old " in capsys.readouterr().out


def test_the_other_checkout_stays_out_of_the_page_of_the_peers() -> None:
    timing = Timing(Point("funcnet", SMALL), "1.0", "", 2.3, 2**20, {"predict": (2.0, 3.0)})
    old = Timing(Point(BEFORE, SMALL), "0.9", "", 2.3, 2**20, {"predict": (1.0, 2.0)})
    row = Row("predict", SMALL, {"funcnet": timing, "products": timing, BEFORE: old})
    assert row.over_before()[0] == pytest.approx(1.75)
    text = page([row], [], [], ["products"], 2, (0.1, 1.5))
    assert BEFORE not in text
    assert "| 0.9 |" not in text


def test_a_layer_whose_vjp_was_replaced_does_not_fall_back_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    peers.funcnet(SMALL, Problem(SMALL))
    relu = fn.relu()

    def vjp(params: tuple[()], residuals: object, dy: object, *, need_dx: bool = True) -> object:
        return relu.pure_vjp(params, residuals, dy, need_dx=need_dx)

    monkeypatch.setattr(fn, "relu", lambda: attrs.evolve(relu, vjp=vjp))
    with pytest.raises(RuntimeError, match=r"the pure functions run, and no kernels, of relu$"):
        peers.funcnet(SMALL, Problem(SMALL))
    assert math.isfinite(peers.funcnet_before(SMALL, Problem(SMALL)).epoch())  # another checkout is as it is


@pytest.mark.parametrize("workload", [SMALL, *ADAM, attrs.evolve(SMALL, activation="gelu")])
def test_every_part_of_a_step_has_a_kernel_and_a_command_line_says_all(workload: Workload) -> None:
    assert workload_of(*workload.arguments) == workload
    peers.funcnet(attrs.evolve(workload, examples=workload.batch), Problem(workload))


def test_an_optimizer_other_than_momentum_is_named() -> None:
    assert [w.name for w in ADAM] == ["adam, 784-256-10", "adam, 784-1024-10"]
    assert attrs.evolve(SMALL, activation="tanh", optimizer="adam").name == "adam, tanh, 6-5-3"


def test_peers_that_compute_something_else_are_found_out() -> None:
    def states(peer: str, loss: float) -> Timing:
        return Timing(Point(peer, SMALL), "1.0", "", loss, 0, {})

    expect_one_arithmetic([states("one", 2.3), states("other", 2.300001), states("silent", math.nan)])
    with pytest.raises(RuntimeError, match="the peers do not compute the same"):
        expect_one_arithmetic([states("one", 2.3), states("other", 2.301)])


def test_ratios_are_of_rounds_and_lines_of_relative_squares() -> None:
    assert ratio([2, 4, 6], [1, 2, 3]) == (2, 2, 2)
    fitted, off = line([1, 2, 3], [3, 5, 7])
    assert fitted == pytest.approx([3, 5, 7])
    assert off == pytest.approx(0)
    assert line([1, 2, 3], [3, 5, 10])[1] > 0.05


def test_the_arrays_of_a_workload_are_the_same_for_all() -> None:
    one, other = Problem(SMALL), Problem(SMALL)
    assert (one.images == other.images).all()
    assert (one.y == one.images[:, :3].argmax(axis=1)).all()
    assert one.x.mean() == pytest.approx((one.images - 127.5).mean() / 73.9, abs=1e-5)


@pytest.mark.parametrize("script", [compare, scale])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "1"), "quartiles need 2 rounds or more, got 1"),
        (("--rounds", "some"), "invalid round_count value: 'some'"),
        (("--out", __file__), "no folder can be made at .*test_benchmarks.py: File exists"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_measured(
    script: object,
    arguments: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    with pytest.raises(SystemExit):
        script.main()
    assert re.search(message, capsys.readouterr().err)


def test_a_folder_without_funcnet_is_no_other_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "--against", str(tmp_path)])
    with pytest.raises(SystemExit):
        compare.main()
    assert "there is no funcnet to import at " in capsys.readouterr().err


def test_what_the_other_checkout_cannot_run_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    home = another_checkout(tmp_path / "old", WITHOUT_ADAM)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["compare.py", "--against", str(home), "--only", "adam", "--out", str(out)])
    with pytest.raises(SystemExit):
        compare.main()
    assert "no such part: adam, 784-256-10;" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_a_comparison_of_nothing_leaves_the_last_one_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "--only", "nope", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        compare.main()
    assert "no workload has 'nope' in its name; they are 784-256-10, batch 128;" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
