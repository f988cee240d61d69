"""That the benchmarks still run; what they measure is theirs to say."""

import math
import re
import sys
from pathlib import Path

import compare
import pytest
import scale
from compare import Row, expect_one_arithmetic, page, plot
from scale import line
from turns import Point, Timing, ratio, take_turns
from workloads import Problem, Workload

SMALL = Workload((6, 5, 3), 4, 10)


def test_a_comparison_from_processes_to_page() -> None:
    peers = ["products", "products_laid_out", "funcnet"]
    timings = take_turns([Point(peer, SMALL) for peer in peers], ["epoch", "steps"], 2)
    assert [timing.point.peer for timing in timings] == peers
    assert all(len(timing.seconds[kind]) == 2 for timing in timings for kind in ("epoch", "steps"))
    assert all(timing.peak > 10 * 2**20 for timing in timings)
    assert math.isfinite(timings[-1].loss)
    rows = [Row(kind, SMALL, {timing.point.peer: timing for timing in timings}) for kind in ("epoch", "steps")]
    text = page(rows, [], peers[:2], 2, (0.1, 1.5))
    assert "| epoch: 6-5-3, batch 4 |" in text
    assert "takes 1.50 times as long" in text
    assert "(benchmarks.png)" in text
    assert "(benchmarks.png)" not in page([], rows[1:], peers[:2], 2, (0.1, 1.5))  # which is drawn of no rows
    assert len(plot(rows, peers[:2]).axes) == 1


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


def test_a_comparison_of_nothing_leaves_the_last_one_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "--only", "nope", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        compare.main()
    assert "no workload has 'nope' in its name; they are 784-256-10, batch 128;" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
