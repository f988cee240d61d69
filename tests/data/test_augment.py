import itertools
import math
import pickle
from typing import Any

import array_api_strict as strict
import attrs
import numpy as np
import pytest
from oracles import oracle

from funcnet import random
from funcnet.data import augment
from funcnet.data.augment import Augmentation, Examples
from funcnet.data.batches import batches
from funcnet.data.dataset import Split
from funcnet.random import fold_in, make_key
from funcnet.shapes import ShapeError

KEY = make_key(0)
CLASSES = 3
PARTS = [
    augment.flip(),
    augment.alternating_flip(),
    augment.shift(2),
    augment.shift(2, "reflect"),
    augment.rotate(30),
    augment.cutout(3),
    augment.random_erasing(),
    augment.mixup(0.4, classes=CLASSES),
    augment.cutmix(classes=CLASSES),
    augment.brightness_contrast(),
]
EVERYTHING = augment.compose(*PARTS)


def examples(count: int = 40, image: tuple[int, ...] = (5, 6, 3), dtype: Any = np.float32, **more: Any) -> Examples:
    """Images whose entries are all different, and none of them 0."""
    x = 1 + np.arange(count * math.prod(image)).reshape(count, *image)
    return Examples((x / x.size).astype(dtype), np.arange(count) % CLASSES, np.arange(count), **more)


# --- what all of them have in common


@pytest.mark.parametrize("part", [*PARTS, EVERYTHING], ids=str)
@pytest.mark.parametrize("image", [(5, 6, 3), (6, 5), (4, 4, 1), (1, 1, 2), (1, 3)])
@pytest.mark.parametrize("count", [1, 9])
def test_examples_keep_their_shape_and_dtype(part: Augmentation, image: tuple[int, ...], count: int) -> None:
    for dtype in (np.float32, np.float64):
        given = examples(count, image, dtype)
        before = given.x.copy(), given.y.copy()
        made = part(KEY, given)
        assert (made.x.shape, made.x.dtype, len(made.y)) == (given.x.shape, np.dtype(dtype), count)
        assert made.y.dtype in (given.y.dtype, dtype)
        assert np.isfinite(made.x).all()
        assert np.array_equal(given.x, before[0])
        assert np.array_equal(given.y, before[1])
        assert np.array_equal(made.rows, given.rows)


@pytest.mark.parametrize("part", [*PARTS, EVERYTHING], ids=str)
def test_the_key_determines_what_is_drawn(part: Augmentation) -> None:
    once, again = (part(KEY, examples()) for _ in range(2))
    unpickled = pickle.loads(pickle.dumps(part))(KEY, examples())
    for made in (again, unpickled):
        assert np.array_equal(made.x, once.x)
        assert np.array_equal(made.y, once.y)
    other = part(make_key(1), examples())
    assert np.array_equal(other.x, once.x) == (part.name == "alternating_flip()")


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_grey_image_may_have_an_axis_of_channels(part: Augmentation) -> None:
    flat, deep = examples(image=(5, 6)), examples(image=(5, 6, 1))
    np.testing.assert_allclose(part(KEY, deep).x[..., 0], part(KEY, flat).x, rtol=1e-6)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("part", [*PARTS, EVERYTHING], ids=str)
def test_other_namespaces(part: Augmentation) -> None:
    given, wanted = examples(), part(KEY, examples())

    def augmented(*arrays: Any) -> tuple[Any, Any]:
        made = part(KEY, Examples(*arrays))
        return made.x, made.y

    def expect_same(convert: Any, function: Any) -> None:
        x, y = function(*(convert(np.array(a)) for a in (given.x, given.y, given.rows)))
        np.testing.assert_allclose(np.asarray(x), wanted.x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.asarray(y), wanted.y, rtol=1e-4, atol=1e-4)

    expect_same(strict.asarray, augmented)
    jax = oracle("jax")
    expect_same(jax.numpy.asarray, jax.jit(augmented))


def test_each_part_of_a_composition_has_a_key_of_its_own() -> None:
    first, second = augment.flip(), augment.shift(2)
    both = augment.compose(first, second)
    assert str(both) == "flip(0.5), shift(2)"
    wanted = second(fold_in(KEY, 1), first(fold_in(KEY, 0), examples()))
    assert np.array_equal(both(KEY, examples()).x, wanted.x)


# --- one by one, against loops over images


def test_flips() -> None:
    given = examples(400)
    made = augment.flip(0.25)(KEY, given).x
    mirrored = [np.array_equal(y, x[:, ::-1]) for x, y in zip(given.x, made, strict=True)]
    assert all(m or np.array_equal(y, x) for m, x, y in zip(mirrored, given.x, made, strict=True))
    assert 60 < sum(mirrored) < 140
    assert np.array_equal(augment.flip(0)(KEY, given).x, given.x)
    assert np.array_equal(augment.flip(1)(KEY, given).x, given.x[:, :, ::-1])


def test_flips_that_alternate() -> None:
    """Whatever the batches are, an image is mirrored in every other epoch."""
    part, whole = augment.alternating_flip(), examples(400)
    flipped = [np.any(part(make_key(e), attrs.evolve(whole, epoch=e)).x != whole.x, axis=(1, 2, 3)) for e in range(4)]
    assert np.array_equal(flipped[0], ~flipped[1])
    assert np.array_equal(flipped[0], flipped[2])
    assert np.array_equal(flipped[1], flipped[3])
    assert 160 < flipped[0].sum() < 240
    assert 160 < (flipped[0][1:] != flipped[0][:-1]).sum() < 240  # neighbours do not go together
    rows = np.array([7, 300, 2, 41])
    some = part(KEY, Examples(whole.x[rows], whole.y[rows], rows))
    assert np.array_equal(np.any(some.x != whole.x[rows], axis=(1, 2, 3)), flipped[0][rows])
    other = augment.alternating_flip(seed=1)(KEY, whole).x
    assert 100 < np.any(other != augment.alternating_flip()(KEY, whole).x, axis=(1, 2, 3)).sum() < 300


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_shifts(padding: Any, mode: str) -> None:
    given, reach = examples(300, (4, 6, 3)), 2
    made = augment.shift(reach, padding)(KEY, given).x
    seen = set()
    for x, y in zip(given.x, made, strict=True):
        wide = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode)
        crops = {(i, j): wide[i : i + 4, j : j + 6] for i, j in itertools.product(range(2 * reach + 1), repeat=2)}
        (place,) = [place for place, crop in crops.items() if np.array_equal(crop, y)]
        seen.add(place)
    assert len(seen) == (2 * reach + 1) ** 2


def test_a_shift_by_more_than_the_image() -> None:
    made = augment.shift(9)(KEY, examples(200, (2, 2, 1))).x
    assert (made == 0).all(axis=(1, 2, 3)).any()
    reflected = augment.shift(9, "reflect")(KEY, examples(200, (2, 2, 1)))
    assert (reflected.x != 0).all()


def test_rotations() -> None:
    """Bilinear interpolation, pixel by pixel, of an image with zeros around it."""
    given = examples(6, (5, 4, 2), np.float64)
    made = augment.rotate(60)(KEY, given).x
    angles = math.radians(60) * (2 * random.uniform(KEY, (6,), like=given.x) - 1)

    def at(x: np.ndarray, i: int, j: int) -> Any:
        return x[i, j] if 0 <= i < 5 and 0 <= j < 4 else 0.0

    for x, y, angle in zip(given.x, made, angles, strict=True):
        for i, j in np.ndindex(5, 4):
            down, right = i - 2, j - 1.5
            row = math.cos(angle) * down + math.sin(angle) * right + 2
            column = math.cos(angle) * right - math.sin(angle) * down + 1.5
            a, b = math.floor(row), math.floor(column)
            p, q = row - a, column - b
            wanted = (1 - p) * ((1 - q) * at(x, a, b) + q * at(x, a, b + 1)) + p * (
                (1 - q) * at(x, a + 1, b) + q * at(x, a + 1, b + 1)
            )
            np.testing.assert_allclose(y[i, j], wanted, atol=1e-12)


def box_of(changed: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of what was changed, which is a rectangle."""
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    assert changed[box].all()
    assert changed.sum() == changed[box].size
    return box


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_cutouts(size: int) -> None:
    given = examples(300, (5, 6, 3))
    made = augment.cutout(size)(KEY, given).x
    centres = {
        (i, j): (slice(max(i - size // 2, 0), i - size // 2 + size), slice(max(j - size // 2, 0), j - size // 2 + size))
        for i, j in np.ndindex(5, 6)
    }
    seen = set()
    for x, y in zip(given.x, made, strict=True):
        for centre, box in centres.items():
            wanted = x.copy()
            wanted[box] = 0
            if np.array_equal(wanted, y):
                seen.add(centre)
                break
        else:
            pytest.fail("no square was cut out")
    assert len(seen) > 25 or size == 20


def test_rectangles_that_are_erased() -> None:
    given = examples(400, (20, 20, 3))
    part = augment.random_erasing(0.5, (0.05, 0.2), 0.5)
    made = part(KEY, given).x
    shares, ratios, values = [], [], []
    for x, y in zip(given.x, made, strict=True):
        changed = (x != y).any(axis=2)
        if changed.any():
            box = y[box_of(changed)]
            shares.append(box[..., 0].size / 400)
            ratios.append(box.shape[0] / box.shape[1])
            values.append(box.reshape(-1, 3))
    assert 150 < len(shares) < 250
    assert 0.03 < min(shares) < 0.07
    assert 0.17 < max(shares) < 0.23
    assert 0.4 < min(ratios) < 0.7
    assert 1.5 < max(ratios) < 2.6
    noise = np.concatenate(values)
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1
    assert np.array_equal(augment.random_erasing(0)(KEY, given).x, given.x)
    assert (augment.random_erasing(1, (1, 1), 1)(KEY, given).x != given.x).all()


def one_hot(y: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[y]


def test_mixup() -> None:
    given = examples(300)
    made = augment.mixup(0.4, classes=CLASSES)(KEY, given)
    own, of_next = one_hot(given.y), one_hot(np.roll(given.y, -1))
    assert (made.y.shape, made.y.dtype) == ((300, CLASSES), np.float32)
    share = made.y[np.arange(300), given.y]  # neighbours have different labels
    assert ((share >= 0) & (share <= 1)).all()
    assert len(np.unique(share)) > 200
    np.testing.assert_allclose(made.y, share[:, None] * own + (1 - share)[:, None] * of_next, atol=1e-6)
    s = share.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(made.x, s * given.x + (1 - s) * np.roll(given.x, -1, axis=0), atol=1e-6)


def test_mixup_of_rows_and_of_numbers() -> None:
    """Examples need not be images, nor targets labels: shares that are mixed already, or numbers."""
    x, y = random.normal(KEY, (50, 4)), random.normal(make_key(1), (50, 2))
    made = augment.mixup(1.0, classes=CLASSES)(KEY, Examples(x, y, np.arange(50)))
    share = (made.x - np.roll(x, -1, axis=0))[:, :1] / (x - np.roll(x, -1, axis=0))[:, :1]
    np.testing.assert_allclose(made.y, share * y + (1 - share) * np.roll(y, -1, axis=0), atol=1e-3)
    twice = augment.compose(augment.mixup(1.0, classes=CLASSES), augment.cutmix(classes=CLASSES))(KEY, examples())
    np.testing.assert_allclose(twice.y.sum(axis=1), 1, atol=1e-6)


def test_cutmix() -> None:
    given = examples(300, (8, 10, 3))
    made = augment.cutmix(classes=CLASSES)(KEY, given)
    shares = []
    for i, (x, y) in enumerate(zip(given.x, made.x, strict=True)):
        changed = (x != y).any(axis=2)
        box, following = box_of(changed), given.x[(i + 1) % 300]
        assert np.array_equal(y[box], following[box])
        assert np.array_equal(y[~changed], x[~changed])
        shares.append(1 - changed.mean())
    own, of_next, share = one_hot(given.y), one_hot(np.roll(given.y, -1)), np.array(shares)[:, None]
    np.testing.assert_allclose(made.y, share * own + (1 - share) * of_next, atol=1e-6)
    assert 0.55 < share.mean() < 0.75  # boxes are cut off at the border: more than 1/2
    assert len(np.unique(share)) > 20


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 3.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    count = 4000
    x = np.zeros((count, 1))
    share = augment.mixup(alpha, classes=2)(KEY, Examples(x, np.arange(count) % 2, np.arange(count))).y[
        np.arange(count), np.arange(count) % 2
    ]
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).statistic < 1.6 / math.sqrt(count)


def test_brightness_and_contrast() -> None:
    given = examples(300, (4, 5, 3), np.float64)
    made = augment.brightness_contrast(0.3, 0.5)(KEY, given).x
    means, new = (a.mean(axis=(1, 2, 3), keepdims=True) for a in (given.x, made))
    factor = ((made - new) / (given.x - means)).reshape(300, -1)
    np.testing.assert_allclose(factor, np.repeat(factor[:, :1], factor.shape[1], axis=1))
    for draws, low, high in ((factor[:, 0], 0.5, 1.5), ((new - means).ravel(), -0.3, 0.3)):
        assert low <= draws.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < draws.max() <= high
    assert np.array_equal(augment.brightness_contrast(0, 0)(KEY, given).x, given.x)


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.flip(1.5), r"the probability of a flip lies in \[0, 1\], got 1.5"),
        (lambda: augment.shift(0), "the pixels of a shift is a whole number from 1 up"),
        (lambda: augment.shift(1, "edge"), "the padding of a shift is zero or reflect, got 'edge'"),
        (lambda: augment.rotate(0), "the largest angle of a rotation is finite and positive"),
        (lambda: augment.rotate(181), "at most 180 degrees, got 181"),
        (lambda: augment.cutout(2.5), "the size of a cutout is a whole number from 1 up"),
        (lambda: augment.random_erasing(area=(0.4, 0.1)), "the shares of the area go from low to high"),
        (lambda: augment.random_erasing(aspect=0), r"the aspect of a rectangle lies in \(0, 1\]"),
        (lambda: augment.mixup(0, classes=2), "the alpha of mixup is finite and positive"),
        (lambda: augment.cutmix(classes=0), "the number of classes is a whole number from 1 up"),
        (lambda: augment.brightness_contrast(-1), "the brightness is finite and from 0 up"),
        (lambda: augment.alternating_flip(-1), "a seed is a whole number from 0 up"),
        (lambda: augment.compose(), "compose needs at least one augmentation"),
    ],
)
@pytest.mark.usefixtures("as_users_run")
def test_arguments_are_refused_where_they_are_given(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_augmentation_or_no_batch_of_images_is_refused() -> None:
    given = examples()
    narrow = Augmentation("narrow", lambda key, e: attrs.evolve(e, x=e.x[:, 1:]))
    wide = Augmentation("wide", lambda key, e: attrs.evolve(e, x=e.x.astype(np.float64)))
    nothing = Augmentation("nothing", lambda key, e: e.x)
    for error, message, make in (
        (TypeError, "an augmentation is made by a call", lambda: augment.compose(augment.flip)),
        (TypeError, "compose takes augmentations, got None", lambda: augment.compose(None)),
        (TypeError, "expected a key", lambda: augment.flip()(0, given)),
        (TypeError, r"flip\(0.5\) is given a ndarray, where Examples", lambda: augment.flip()(KEY, given.x)),
        (TypeError, "nothing returns a ndarray, where Examples", lambda: nothing(KEY, given)),
        (ShapeError, r"shift\(1\): expected images of shape .*, got \(40, 90\)",
         lambda: augment.shift(1)(KEY, attrs.evolve(given, x=given.x.reshape(40, -1)))),
        (ShapeError, r"flip\(0.5\): expected x of a floating-point dtype, got dtype uint8",
         lambda: augment.flip()(KEY, attrs.evolve(given, x=given.x.astype(np.uint8)))),
        (ShapeError, r"narrow: expected to return x of float32 and shape \(40, 5, 6, 3\)", lambda: narrow(KEY, given)),
        (ShapeError, "wide: expected to return x of float32", lambda: wide(KEY, given)),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            make()


# --- batches


def test_batches_are_augmented_by_their_number() -> None:
    """The order is that without augmentation. From a later batch on, the batches are the same."""
    given = examples(23)
    split = Split(given.x, given.y)
    kept = Augmentation("kept", keep)
    SEEN.clear()
    plain = list(batches(split, 5, key=KEY))
    whole = list(batches(split, 5, key=KEY, augment=augment.compose(kept, augment.flip()), epoch=2))
    for one, other, seen in zip(plain, whole, SEEN, strict=True):
        assert np.array_equal(one.y, other.y)
        assert np.array_equal(seen.x, one.x)
        assert np.array_equal(given.x[seen.rows], one.x)
        assert seen.epoch == 2
    rest = list(batches(split, 5, key=KEY, augment=augment.compose(kept, augment.flip()), epoch=2, start=2))
    assert [b.x.tobytes() for b in rest] == [b.x.tobytes() for b in whole[2:]]
    assert len({b.x.shape for b in whole}) == 2
    flips = [tuple((a.x != b.x).any(axis=(1, 2, 3))) for a, b in zip(plain, whole, strict=True)]
    assert len(set(flips)) > 3  # each batch has draws of its own


SEEN: list[Examples] = []


def keep(key: Any, given: Examples) -> Examples:
    SEEN.append(given)
    return given


@pytest.mark.usefixtures("as_users_run")
def test_batches_need_a_key_and_floats_to_be_augmented() -> None:
    split = Split(np.zeros((4, 3, 3), np.uint8), np.arange(4))
    with pytest.raises(ValueError, match="an augmentation draws random numbers"):
        batches(split, 2, augment=augment.flip())
    with pytest.raises(TypeError, match="an augmentation is made by a call"):
        batches(split, 2, key=KEY, augment=augment.flip)
    with pytest.raises(ShapeError, match=r"flip\(0.5\): expected x of a floating-point dtype, got dtype uint8"):
        next(batches(split, 2, key=KEY, augment=augment.flip()))
