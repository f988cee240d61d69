"""The report on the lab's rising loss: its mistakes are the ones it names, and its pages say what its runs say."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import rising_loss as rising

from funcnet.data import Dataset, Split
from funcnet.penalties import l2
from funcnet.report.pages import to_markdown_page
from funcnet.report.style import COLUMN, PAGE
from funcnet.table import Table

REPORTS = Path(__file__).parents[2] / "reports"
W = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)


def _dataset() -> Dataset:
    """Four classes of noisy 3 x 3 images, each with a bright pixel of its own."""
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        x, y = random.integers(0, 100, (count, 3, 3)), np.arange(count) % 4
        x.reshape(count, 9)[np.arange(count), y] += 150
        return Split(x.astype(np.uint8), y)

    return Dataset("fashion-mnist", split(320), split(64), tuple("abcd"))


def _trial(mistake: str, **changes: float) -> object:
    settings = {"coefficient": 0.1, "hidden": 8, "scale": 0.3, "rate": 0.1} | changes
    return rising.Trial("fashion-mnist", mistake, standardised=True, **settings)


def test_the_mistakes_are_those_they_are_named_for() -> None:
    value, grad = l2(0.5)(W)
    for mistake, factor in ((rising.left_out, 0), (rising.wrong_sign, -1), (rising.over_batch, 1 / 16)):
        wrong = mistake(0.5)
        assert wrong.value(W) == value
        assert np.allclose(wrong.grad(W), factor * grad)
    assert np.array_equal(rising.bare_value(0.5).grad(W), grad)
    assert rising.bare_value(0.5).value(W) == pytest.approx(np.square(W).sum())


def test_with_the_right_gradient_the_total_falls_and_with_mistakes_it_rises() -> None:
    right = rising.run(_trial("gradient right", epochs=4), _dataset())
    wrong = rising.run(_trial("wrong sign in the gradient", coefficient=0.3, epochs=4), _dataset())
    out = rising.run(_trial("left out of the gradient", coefficient=2.0, epochs=4), _dataset())
    assert all(b < a for a, b in itertools.pairwise(right.total))
    for outcome in (wrong, out):
        assert all(b > a for a, b in itertools.pairwise(outcome.total))
        assert outcome.accuracy[-1] > 0.9
        assert outcome.data[-1] < outcome.data[0]


def test_the_coefficient_of_a_penalty_left_out_of_the_gradient_does_not_matter_to_training() -> None:
    one, two = (rising.run(_trial("left out of the gradient", coefficient=c, epochs=2), _dataset()) for c in (1.0, 2.0))
    assert one.data == two.data
    assert np.allclose(np.multiply(2, one.hidden), two.hidden)


def test_a_run_is_the_same_every_time() -> None:
    one, two = (rising.run(_trial("gradient right", epochs=1), _dataset()) for _ in range(2))
    assert one == two


def _fit(curve: tuple[float, ...], accuracy: tuple[float, float]) -> object:
    zeros = (0.0,) * (len(curve) + 1)
    trial = _trial("gradient right")
    return rising.Outcome(trial, zeros, (0.0, *curve), zeros, (0.0, accuracy[0]), accuracy[1], 0.0, 0.0)


def test_a_perfect_fit_ranks_first_and_a_diverged_run_last() -> None:
    curve, accuracy = rising.lab_losses()["fashion-mnist"], rising.ACCURACY["fashion-mnist"]
    perfect = _fit(curve, accuracy)
    far = _fit(tuple(1.1 * v for v in curve), accuracy)
    wrong = _fit(curve, (0.5, 0.4))
    ended = _fit(curve[:5], accuracy)
    ranking = rising.rank([ended, wrong, far, perfect], "fashion-mnist")
    assert ranking[0] == (0.0, perfect)
    assert math.isinf(ranking[-1][0])
    assert rising.rank([perfect], "cifar-10") == []


def test_the_lab_s_curves_rise_between_their_known_ends() -> None:
    curves = rising.lab_losses()
    ends = {name: (curve[0], curve[-1]) for name, curve in curves.items()}
    assert ends == {
        "fashion-mnist": (505.24212646484375, 1785.1988525390625),
        "cifar-10": (7795.271484375, 9781.3505859375),
        "cifar-100": (15924.796875, 20619.205078125),
    }
    for curve in curves.values():
        assert len(curve) == 20
        assert all(b > a for a, b in itertools.pairwise(curve))


def test_kept_runs_are_read_as_they_were_and_the_rest_is_still_to_do(tmp_path: Path) -> None:
    outcomes = rising.kept(REPORTS / "rising_loss.json")
    wanted = {*rising.trials(), *rising.short_trials(), *rising.finalists(outcomes)}
    assert set(outcomes) == wanted
    assert len(rising.finalists(outcomes)) == 18  # six mistakes on three sets
    few = dict(itertools.islice(outcomes.items(), 3))
    rising.keep(few, tmp_path / "some.json")
    assert rising.kept(tmp_path / "some.json") == few
    assert rising.kept(tmp_path / "none.json") == {}


def test_of_the_short_runs_the_one_that_rises_as_the_lab_did_is_made_whole() -> None:
    curve = rising.lab_losses()["fashion-mnist"]
    two = [
        t for t in rising.short_trials() if (t.dataset, t.mistake) == ("fashion-mnist", "wrong sign in the gradient")
    ]

    def outcome(trial: object, rise: float) -> object:
        zeros = (0.0, 0.0, 0.0)
        return rising.Outcome(trial, zeros, (0.0, 10.0, 10.0 + rise), zeros, zeros, 0.0, 0.0, 0.0)

    like_the_lab = 10 * (curve[1] - curve[0]) / curve[0]  # of another level, which the coefficient sets
    right = outcome(two[3], like_the_lab)
    assert rising.short_misfit(right, curve) == pytest.approx(0)
    outcomes = {two[0]: outcome(two[0], 0.0), two[3]: right, two[5]: outcome(two[5], 2 * like_the_lab)}
    assert [(t.rate, t.epochs) for t in rising.finalists(outcomes)] == [(two[3].rate, 20)]


def test_the_page_says_what_the_runs_say() -> None:
    outcomes = list(rising.kept(REPORTS / "rising_loss.json").values())
    assert (REPORTS / "rising_loss.md").read_text(encoding="utf-8") == to_markdown_page(rising.page(outcomes), ".")
    for name in rising.ACCURACY:
        best = rising.best_of_each(rising.rank(outcomes, name))
        # Both are one mistake where the coefficient in the gradient is as good as 0.
        assert best[0][1].trial.mistake in ("left out of the gradient", "coefficient left out of the value")
        assert [fit for fit, _ in best] == sorted(fit for fit, _ in best)


def test_settings_have_columns_with_names_and_axes_begin_at_zero() -> None:
    outcomes = list(rising.kept(REPORTS / "rising_loss.json").values())
    table = next(b for b in rising.page(outcomes).blocks if isinstance(b, Table) and b.title.startswith("Settings"))
    assert table.columns[2:] == ("Coefficient", "Hidden units", "Deviation", "Rate", "Batch", "Pixels")
    assert ("cifar-10", "left out of the gradient", "1", "250", "0.1", "0.1", "16", "from 0 to 1") in table.rows
    for width in (PAGE, COLUMN):
        assert {axes.get_ylim()[0] for axes in rising.figure(outcomes, width).axes} == {0}


def test_a_search_cut_short_still_makes_pages(tmp_path: Path) -> None:
    outcome = rising.run(_trial("left out of the gradient", epochs=20), _dataset())
    rising.write([outcome], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rising_loss.md", "rising_loss.pdf", "rising_loss.png"}
