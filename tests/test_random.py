import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import random
from funcnet.check.strategies import keys
from funcnet.random import Key, make_key


def test_the_bits_never_change() -> None:
    """Runs made with one version can be made again with the next: these numbers are fixed for ever."""
    key = make_key(0)
    assert key == Key(high=6312158256571094726, low=10634814581434429480)
    assert random.uniform(key, (3,)).tolist() == [0.6246216297149658, 0.9797680377960205, 0.39197322726249695]
    assert random.normal(key, (3,)).tolist() == [0.3176417648792267, 2.0489814281463623, -0.2741797864437103]
    assert random.normal(key, (3,), np.float64).tolist() == [
        0.31764176533792826,
        2.048981341346413,
        -0.27417979608918586,
    ]
    assert random.randint(key, (8,), 0, 10).tolist() == [6, 9, 3, 2, 1, 8, 2, 9]
    assert random.permutation(key, 8).tolist() == [4, 6, 3, 2, 0, 5, 7, 1]


@pytest.mark.parametrize("number", [-1, 2**64, 0.5])
@pytest.mark.usefixtures("as_users_run")
def test_a_child_has_a_number_that_fits(number: float) -> None:
    with pytest.raises(ValueError, match="the number of a child of a key is"):
        random.fold_in(make_key(0), number)


@pytest.mark.usefixtures("as_users_run")
def test_ranges_that_cannot_be_drawn_from_are_refused() -> None:
    key = make_key(0)
    for low, high in ((0, 2**54), (-(2**63), 2**63), (2**63 - 1, 2**63 + 1)):
        with pytest.raises(ValueError, match=r"more than 2\*\*53 numbers, or ones of more than 64 bits"):
            random.randint(key, (3,), low, high)
    assert random.randint(key, (), 2**63 - 1, 2**63) == 2**63 - 1
    with pytest.raises(TypeError, match="integer"):
        random.randint(key, (3,), 0.5, 2.5)
    for low, high, dtype in ((0, math.inf, np.float64), (-1.5e308, 1.5e308, np.float64), (0, 1e300, np.float32)):
        with pytest.raises(ValueError, match="is not finite in float"):
            random.uniform(key, (3,), low, high, dtype)
    with pytest.raises(TypeError, match="must be <class 'int'>"):
        Key(1.5, 2)


@given(keys())
def test_the_same_key_draws_the_same(key: Key) -> None:
    for draw in (random.uniform, random.normal):
        assert draw(key, (4, 3)).tobytes() == draw(key, (4, 3)).tobytes()
    assert np.array_equal(random.permutation(key, 9), random.permutation(key, 9))


@given(keys(), st.integers(0, 40), st.integers(0, 40))
def test_a_longer_draw_begins_with_the_shorter(key: Key, count: int, more: int) -> None:
    for draw in (random.uniform, random.normal):
        assert np.array_equal(draw(key, (count + more,))[:count], draw(key, (count,)))


def test_keys_split_into_different_streams() -> None:
    key = make_key(3)
    children = [*random.split(key, 50), *random.split(make_key(4), 50), key]
    assert len({random.uniform(k, (2,), dtype=np.float64).tobytes() for k in children}) == len(children)
    assert random.split(key, 5)[:2] == random.split(key, 2)


def test_different_streams_are_not_correlated() -> None:
    a, b = (random.normal(k, (100_000,)) for k in random.split(make_key(0)))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(100_000)


@given(keys(), st.floats(-10, 10), st.floats(0.1, 10))
def test_uniform_stays_in_its_range(key: Key, low: float, width: float) -> None:
    x = random.uniform(key, (100,), low, low + width, np.float64)
    assert low <= x.min()
    assert x.max() < low + width


def test_uniform_never_rounds_up_to_its_bound() -> None:
    """Between two neighbouring numbers there is only the lower one."""
    x = random.uniform(make_key(0), (100,), 1.0, 1.0 + 2.0**-23)
    assert x.dtype == np.float32
    assert (x == 1).all()


def test_normal_has_the_normal_distribution() -> None:
    """Kolmogorov-Smirnov: the largest gap to the distribution function, against its 0.1% point."""
    n = 200_000
    x = np.sort(random.normal(make_key(1), (n,), np.float64))
    grid = np.arange(0, n, 97)
    exact = np.array([statistics.NormalDist().cdf(v) for v in x[grid]])
    assert np.abs(exact - (grid + 0.5) / n).max() < 1.95 / math.sqrt(n)


def test_truncated_normal_has_the_distribution_between_its_bounds() -> None:
    """The same test, and the same bits everywhere."""
    n, cdf = 100_000, statistics.NormalDist().cdf
    x = np.sort(random.truncated_normal(make_key(1), (n,), np.float64))
    grid = np.arange(0, n, 97)
    exact = np.array([(cdf(v) - cdf(-2)) / (cdf(2) - cdf(-2)) for v in x[grid]])
    assert np.abs(exact - (grid + 0.5) / n).max() < 1.95 / math.sqrt(n)
    assert random.truncated_normal(make_key(1), (2, 1), np.float64).tolist() == [
        [0.5465201481917914], [1.067345271859264],
    ]  # fmt: skip


def test_no_bits_make_a_truncated_number_larger_than_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "_bits", lambda key, count: np.array([0, 2**64 - 1], np.uint64))
    assert random.truncated_normal(make_key(0), (2,)).tolist() == [-2, 2]


def test_no_bits_make_a_normal_number_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = np.array([0, 2**64 - 1], np.uint64)
    monkeypatch.setattr(random, "_bits", lambda key, count: extremes)
    low, high = random.normal(make_key(0), (2,), np.float64)
    assert low == -high
    assert 8 < high < 9


def test_the_quantile_is_exact_to_the_tails() -> None:
    """Against the standard library, which has its own logarithm, down to the smallest number a draw can make."""
    p = np.array([2.0**-53, 1e-12, 1e-6, 0.01, 0.0749, 0.0751, 0.3, 0.5, 0.7, 0.95, 1 - 1e-9, 1 - 2.0**-53])
    exact = [statistics.NormalDist().inv_cdf(v) for v in p]
    np.testing.assert_allclose(random._normal_quantile(p), exact, rtol=1e-14)


def test_the_logarithm_is_exact() -> None:
    x = np.concatenate([np.logspace(-300, 300, 2001), np.linspace(0.5, 2, 2001)])
    np.testing.assert_allclose(random._log(x), np.log(x), rtol=1e-15, atol=1e-16)


@given(keys(), st.integers(-5, 5), st.integers(1, 9))
def test_randint_reaches_all_of_its_range(key: Key, low: int, width: int) -> None:
    assert set(random.randint(key, (400,), low, low + width).tolist()) == set(range(low, low + width))


@given(keys(), st.integers(0, 50))
def test_a_permutation_has_every_number_once(key: Key, count: int) -> None:
    assert sorted(random.permutation(key, count).tolist()) == list(range(count))


words = st.sampled_from([0, 1, 255, 256, 2**16 - 1])


@given(st.lists(st.tuples(words, words, words, words), max_size=30))
def test_a_permutation_is_the_order_of_64_bit_numbers(numbers: list[tuple[int, ...]]) -> None:
    """Of equal ones, which are made here on purpose, the first comes first."""
    drawn = np.array([sum(word << 16 * place for place, word in enumerate(number)) for number in numbers], np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "_bits", lambda key, count: drawn)
        order = random.permutation(make_key(0), len(drawn))
    assert order.tolist() == sorted(range(len(drawn)), key=lambda place: drawn[place])


def test_permutations_are_all_as_likely() -> None:
    counts = np.zeros((4, 4))
    for k in random.split(make_key(5), 4000):
        counts[np.arange(4), random.permutation(k, 4)] += 1
    assert np.abs(counts / 1000 - 1).max() < 0.15


def test_a_single_number_is_an_array_too() -> None:
    for draw in (
        random.uniform(make_key(0), ()),
        random.normal(make_key(0), ()),
        random.randint(make_key(0), (), 0, 5),
    ):
        assert isinstance(draw, np.ndarray)
        assert draw.shape == ()


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_a_seed_has_64_bits(seed: int) -> None:
    with pytest.raises(ValueError, match="a seed is "):
        make_key(seed)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole number"):
        random.randint(make_key(0), (1,), 3, 3)
    with pytest.raises(ValueError, match="no number lies in"):
        random.uniform(make_key(0), (1,), 1.0, 0.0)


def test_a_draw_of_one_normal_number_is_drawn() -> None:
    """Whatever lay in its memory before."""
    long = random.normal(make_key(5), (3,))
    for _ in range(3):
        junk = np.full(1, 7.0, np.float32)
        del junk
        assert random.normal(make_key(5), (1,))[0] == long[0]


@pytest.mark.usefixtures("as_users_run")
def test_a_seed_is_no_key() -> None:
    for draw in (lambda: random.normal(0, (3,)), lambda: random.fold_in(3, 1), lambda: random.permutation(3, 4)):
        with pytest.raises(TypeError, match=r"expected a key \(make_key\(0\) makes the one of the seed 0\), got [03]"):
            draw()


def test_a_range_from_a_number_to_itself_is_empty() -> None:
    with pytest.raises(ValueError, match="no number lies in"):
        random.uniform(make_key(0), (2,), 1.0, 1.0)
