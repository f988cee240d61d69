import json
import pickle
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from damage import KINDS, damaged
from hypothesis import given
from hypothesis import strategies as st
from runs import run_record
from safetensors import safe_open
from safetensors.numpy import load, save

import funcnet as fn
from funcnet import tree
from funcnet.check.registry import LAYERS, LayerEntry
from funcnet.data.batches import normalization
from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.layers.reshape import identity_init, identity_vjp
from funcnet.model_file import Model, load_model, make_model, save_model
from funcnet.shapes import ShapeError

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (30, 4, 4, 3), np.uint8)
LABELS = DRAW.integers(0, 3, 30)
DATA = Dataset("noise", Split(IMAGES, LABELS), Split(IMAGES[:9], LABELS[:9]), ("cat", "dog", "µ猫"))
NET = fn.chain(fn.flatten(), fn.linear(8), fn.batch_norm(), fn.relu(), fn.dropout(), fn.frozen(fn.linear(3)))


def trained(net: Any = NET, data: Dataset = DATA) -> Model:
    optimizer = fn.adam(1e-2)
    state = fn.init_state(net.init(fn.make_key(0), data.train.in_shape)[0], optimizer, fn.make_key(1))
    loss = fn.softmax_cross_entropy()
    (record,) = fn.train(net, state, data, loss=loss, optimizer=optimizer, epochs=1, batch_size=10)
    return make_model(net, record.params, data, run_record())


MODEL = trained()


def test_a_model_comes_back(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", MODEL)
    for back in (load_model(tmp_path / "m.safetensors"), load_model(str(tmp_path / "m.safetensors"), NET)):
        assert tree.equal(back.params, MODEL.params)
        assert tree.equal(back.normalize, MODEL.normalize)
        assert (back.net.name, back.in_shape, back.classes) == (NET.name, (4, 4, 3), ("cat", "dog", "µ猫"))
        assert (back.dataset, back.settings) == ("noise", MODEL.settings)
        assert back.predict(IMAGES).tobytes() == MODEL.predict(IMAGES).tobytes()
    assert dict(MODEL.settings) == {"seed": "7", "epochs": "3", "network": "chain(flatten, linear(8))"}


def test_a_model_predicts_what_the_network_does() -> None:
    normalize = normalization(IMAGES)
    assert np.array_equal(MODEL.predict(IMAGES), fn.make_predict(NET, MODEL.params)(normalize(IMAGES)))
    assert repr(MODEL) == f"Model({NET}, trained on noise)"
    assert np.array_equal(pickle.loads(pickle.dumps(MODEL)).predict(IMAGES), MODEL.predict(IMAGES))


@pytest.mark.parametrize("entry", LAYERS, ids=lambda entry: entry.name)
def test_every_layer_of_the_registry(entry: LayerEntry, tmp_path: Path) -> None:
    in_shape = (4,) * (max(1, entry.least_axes) if entry.axes is None else entry.axes)
    net = fn.chain(entry.layer, fn.residual(fn.frozen(entry.layer))) if entry.axes is None else entry.layer
    params, _ = net.init(fn.make_key(0), in_shape)
    model = Model(net, params, in_shape)
    save_model(tmp_path / "m", model)
    x = DRAW.normal(size=(3, *in_shape)).astype(np.float32)
    for back in (load_model(tmp_path / "m"), load_model(tmp_path / "m", net)):
        assert tree.equal(back.params, params)
        assert back.normalize is None
        assert back.predict(x).tobytes() == model.predict(x).tobytes()


def test_float64(tmp_path: Path) -> None:
    net = fn.linear(2)
    params = tree.map(lambda array: array.astype(np.float64), net.init(fn.make_key(0), (3,))[0])
    save_model(tmp_path / "m", Model(net, params, (3,)))
    assert load_model(tmp_path / "m").predict(np.ones((1, 3))).dtype == np.float64


def test_another_script_predicts_in_three_lines(tmp_path: Path) -> None:
    """With nothing of the first one but the file."""
    save_model(tmp_path / "m.safetensors", MODEL)
    np.save(tmp_path / "images.npy", IMAGES)
    script = (
        "import funcnet as fn, numpy as np; images = np.load('images.npy')\n"
        "model = fn.load_model('m.safetensors')\n"
        "outputs = model.predict(images)\n"
        "print(*[model.classes[k] for k in outputs.argmax(axis=1)])\n"
    )
    said = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "error", "-c", script], cwd=tmp_path, check=True, capture_output=True
    )
    assert said.stdout.decode().split() == [DATA.classes[k] for k in MODEL.predict(IMAGES).argmax(axis=1)]


# --- layers that are not funcnet's


def doubled(params: tuple[()], x: Any) -> Any:
    return 2 * x, ()


MINE = fn.chain(fn.flatten(), fn.Layer("mine", identity_init, doubled, identity_vjp), fn.linear(3))


def test_a_network_with_a_layer_of_the_users(tmp_path: Path) -> None:
    model = Model(MINE, MINE.init(fn.make_key(0), (4,))[0], (4,))
    save_model(tmp_path / "m", model)
    with pytest.raises(
        DataError, match=r"m: mine is none of funcnet's own layers: make the network and pass it, load_m"
    ):
        load_model(tmp_path / "m")
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(load_model(tmp_path / "m", MINE).predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            fn.chain(fn.flatten(), fn.linear(5), fn.relu(), fn.linear(3)),
            r"params\[1\]\.weight: the file has float32 of shape \(48, 8\), the network float32 of shape \(48, 5\)",
        ),
        (fn.chain(fn.flatten(), fn.linear(8)), r"params\[2\]\.mean: the file has float32 .*, the network nothing"),
        (
            fn.chain(fn.flatten(), fn.linear(8), fn.batch_norm(), fn.relu(), fn.dropout(), fn.linear(3)),
            r"params\[5\]\.weight: the file has nothing, the network float32 of shape \(8, 3\)",
        ),
        (fn.linear(3), r"linear\(3\): expected an input shape of one axis"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(net: Any, message: str, tmp_path: Path) -> None:
    save_model(tmp_path / "m", MODEL)
    with pytest.raises(DataError, match=f"^{tmp_path / 'm'}: {message}"):
        load_model(tmp_path / "m", net)


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_network(tmp_path: Path) -> None:
    save_model(tmp_path / "m", MODEL)
    with pytest.raises(TypeError, match="a network is a layer"):
        load_model(tmp_path / "m", "chain")  # type: ignore[arg-type]


# --- what a model refuses


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": ("a", "b")}, ValueError, r"there are 2 classes, but an output is of shape \(3,\)"),
        ({"in_shape": (4, 4, 1)}, ShapeError, "normalization: expected x of shape"),
        ({"normalize": None, "in_shape": (5,)}, ShapeError, "expected x of shape"),
        ({"params": MODEL.params[:-1]}, ShapeError, "expected params with an entry for each of its 6 layers"),
        ({"net": fn.linear(3)}, ShapeError, "expected LinearParams"),
        (
            {"normalize": attrs.evolve(MODEL.normalize, shift=np.full((4, 4, 2), np.nan, np.float32))},
            ValueError,
            "the scale or the shift of the normalization is not finite",
        ),
    ],
)
def test_what_does_not_fit(changes: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        attrs.evolve(MODEL, **changes)


@pytest.mark.usefixtures("as_users_run")
def test_raw_images_are_wanted() -> None:
    with pytest.raises(ShapeError, match="normalization: expected x of dtype uint8"):
        MODEL.predict(IMAGES.astype(np.float32))


def test_texts_that_no_file_can_hold_are_written_with_a_backslash(tmp_path: Path) -> None:
    save_model(tmp_path / "m", attrs.evolve(MODEL, dataset="\ud800", classes=("a", "b", "\udfff")))
    model = load_model(tmp_path / "m")
    assert (model.dataset, model.classes) == ("\\ud800", ("a", "b", "\\udfff"))


# --- damage


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("damage", KINDS)
def test_damage_at_200_random_places_is_found(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_model(path, MODEL)
    for content in damaged(path.read_bytes(), damage):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path}: .*(damaged|an empty file)"):
            load_model(path)


def forged(path: Path, change: Any) -> None:
    """The model's file with other facts or arrays, and a checksum that is right."""
    save_model(path, MODEL)
    with safe_open(path, "np") as file:
        content = json.loads(file.metadata()["funcnet"])
    content["sha256"] = "0" * 64
    arrays = load(path.read_bytes())
    change(content["facts"], arrays)
    text = save(arrays, {"funcnet": json.dumps(content)})
    path.write_bytes(text.replace(b"0" * 64, sha256(text).hexdigest().encode(), 1))


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, a: f["network"]["chain"]["layers"].pop(), r"params\[5\]\.params\.bias: the file has"),
        (
            lambda f, a: f["network"]["chain"]["layers"].insert(0, {"linear": {"width": 5}}),
            "the network nothing",
        ),
        (lambda f, a: f["network"]["chain"]["layers"].append({"eval": {}}), "there is no layer 'eval'"),
        (lambda f, a: f["network"]["chain"]["layers"][1]["linear"].update(width=9), "expected params.weight of shape"),
        (lambda f, a: f["network"]["chain"]["layers"][1]["linear"].update(width=10**30), "expected params.weight of"),
        (lambda f, a: f["network"]["chain"]["layers"][4]["dropout"].update(rate="x"), "not supported"),
        (lambda f, a: f.update(network={}), "expected the description of a layer"),
        (lambda f, a: f.update(network=5), "@ model.network"),
        (lambda f, a: f.update(in_shape=[10**9, 10**9]), "expected the shape of an example"),
        (lambda f, a: f.update(in_shape=[-1, 4, 3]), "expected the shape of an example"),
        (lambda f, a: f.update(in_shape=[4, 4]), "normalization: expected"),
        (lambda f, a: f.update(classes=["a"]), "there are 1 classes"),
        (lambda f, a: f.update(constants={"params[0]": "5"}), "the file has 5"),
        (lambda f, a: f.pop("dataset"), "required field missing @ model.dataset"),
        (lambda f, a: a.pop("params[1].weight"), "expected params.weight"),
        (lambda f, a: a.update({"params[1].weight": a["params[1].weight"].T.copy()}), "expected params"),
        (
            lambda f, a: a.update({"params[1].more": IMAGES}),
            r"params\[1\]\.more: the file has uint8 .*, the network nothing",
        ),
        (lambda f, a: a.update({"normalize.scale": np.ones((4, 4), np.float32)}), "normalization: expected x"),
        (lambda f, a: a.update({"normalize.shift": np.ones((9, 9), np.float32)}), "broadcast"),
        (lambda f, a: a.pop("normalize.shift"), "m: 'normalize.shift'"),
        (lambda f, a: a.pop("normalize.scale"), r"normalize\.shift: the file has float32 .*, the network nothing"),
    ],
)
def test_a_file_that_somebody_made_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    forged(tmp_path / "m", change)
    with pytest.raises(DataError, match=message) as error:
        load_model(tmp_path / "m")
    assert str(error.value).startswith(f"{tmp_path / 'm'}: ")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["relu", "chain", "layers", "x"]), inner)
    ),
    max_leaves=5,
)


@pytest.mark.usefixtures("as_users_run")
@given(data=st.data())
def test_any_facts_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "forged"

    def change(facts: Any, arrays: Any) -> None:
        place: Any = facts
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if not (isinstance(place[key], dict | list) and place[key]) or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(anything)

    forged(path, change)
    with suppress(DataError):
        load_model(path).predict(np.zeros((1, *load_model(path).in_shape), np.uint8))
