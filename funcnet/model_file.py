"""A trained network in one file: all that another script needs to use it.

    model = load_model("fashion.safetensors")
    outputs = model.predict(images)                  # uint8, as they were read
    names = [model.classes[k] for k in outputs.argmax(axis=1)]

See ``tensor_file`` for the file, and ``recipe`` for the description of the network in it.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from funcnet import contract, tree
from funcnet.data.batches import Normalization, normalization
from funcnet.data.dataset import DataError, Dataset
from funcnet.engines.running import make_predict
from funcnet.json_records import from_json, to_json
from funcnet.layer import AnyLayer
from funcnet.random import make_key
from funcnet.recipe import describe, make
from funcnet.record import RunRecord
from funcnet.shapes import Array, Float, Num, Shape, ShapeError
from funcnet.step import Predict, expect_net
from funcnet.tensor_file import constants_of, fill, read_tensors, write_tensors
from funcnet.tree import Record, Tree

__all__ = ["Model", "load_model", "make_model", "save_model"]

_FORM, _VERSION = "funcnet model", 1
_LARGEST_EXAMPLE = 1 << 28


@attrs.frozen(eq=False, repr=False)
class Model:
    """A trained network, and what is needed to use it.

    Attributes:
        net: the network.
        params: its parameters, running statistics among them.
        in_shape: the shape of one example.
        normalize: the normalization of uint8 images; None for a network that takes examples as they are.
        classes: the names of the classes, in the order of the outputs; empty where there are none.
        dataset: the name of the data set that it was trained on.
        settings: what it was trained with, as (name, value).

    Raises:
        ShapeError: where network, parameters, normalization and the shape of an example do not fit.
        ValueError: for another number of classes than the network has outputs, or a normalization that is not finite.
    """

    net: AnyLayer
    params: Tree
    in_shape: Shape
    normalize: Normalization | None = None
    classes: tuple[str, ...] = ()
    dataset: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    def __attrs_post_init__(self) -> None:
        if not all(np.isfinite(array).all() for array in tree.leaves(self.normalize)):
            raise ValueError("the scale or the shift of the normalization is not finite")
        example = self._input(np.zeros((1, *self.in_shape), self._dtype))
        contract.expect_fit(self.net, self.params, example)
        outputs = self.net.predict(self.params, example).shape
        if self.classes and outputs != (1, len(self.classes)):
            raise ValueError(f"there are {len(self.classes)} classes, but an output is of shape {tuple(outputs[1:])}")

    @property
    def _dtype(self) -> Any:
        own = next((array.dtype for array in tree.leaves(self.params)), np.float32)
        return own if self.normalize is None else np.uint8

    def _input(self, x: Array) -> Array:
        return x if self.normalize is None else self.normalize(x)

    @cached_property
    def _run(self) -> Predict:
        return make_predict(self.net, self.params)

    def predict(self, x: Num[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """The network's outputs for a batch of raw examples, such as logits (batch, classes).

        Args:
            x: uint8 images as they were read, for a model with a normalization. Else what the network takes.

        Raises:
            ShapeError: for examples of another shape or dtype.
        """
        return self._run(self._input(x))

    def __repr__(self) -> str:
        trained = f", trained on {self.dataset}" if self.dataset else ""
        return f"Model({self.net}{trained})"


def make_model(net: AnyLayer, params: Tree, dataset: Dataset, run: RunRecord | None = None) -> Model:
    """The model of a network that ``train`` trained on a data set.

    Args:
        net: the network.
        params: the parameters, such as ``record.params``.
        dataset: what it was trained on. uint8 images are normalised by its training part, as ``train`` does.
        run: the record of the run, whose settings the model keeps.

    Raises:
        ShapeError: where network, parameters and data set do not fit.
        ValueError: for another number of classes than the network has outputs.
    """
    x = dataset.train.x
    return Model(
        net,
        params,
        tuple(dataset.train.in_shape),
        normalization(x) if x.dtype == np.uint8 else None,
        tuple(map(str, dataset.classes)),
        dataset.name,
        () if run is None else _settings(run),
    )


def _settings(run: RunRecord) -> tuple[tuple[str, str], ...]:
    told = {"seed": run.seed, "epochs": run.epochs, "command": run.command}
    return (*((name, str(value)) for name, value in told.items() if value != ""), *run.settings)


@attrs.frozen
class _Params(Record):
    """The paths of the arrays in here are their names in the file."""

    params: Tree


@attrs.frozen
class _Facts:
    """What is no array. ``network`` is a description, or the reason why there is none."""

    network: dict[str, Any] | str
    in_shape: tuple[int, ...]
    classes: tuple[str, ...]
    dataset: str
    settings: tuple[tuple[str, str], ...]
    constants: dict[str, str]


def save_model(path: Path | str, model: Model) -> None:
    """Write the model into one file, whole or not at all; a file of that name is replaced.

    A network of funcnet's own layers is described in the file. One with other layers must be given to ``load_model``.

    Raises:
        TypeError: for an array of a dtype that the file cannot hold, naming it.
        OSError: where the file cannot be written.
    """
    params = _Params(model.params)
    network: dict[str, Any] | str
    try:
        network = describe(model.net)
    except ValueError as error:
        network = str(error)
    facts = to_json(_Facts(network, model.in_shape, model.classes, model.dataset, model.settings, constants_of(params)))
    from_json(facts, _Facts, "model")  # what cannot be read must not be written
    arrays = dict(tree.named_leaves(params))
    if model.normalize is not None:
        arrays |= dict(tree.named_leaves(model.normalize, "normalize"))
    write_tensors(Path(path), _FORM, _VERSION, facts, arrays)


def load_model(path: Path | str, net: AnyLayer | None = None) -> Model:
    """Read the model that ``save_model`` wrote.

    Args:
        path: the file.
        net: the network, where the file cannot describe it because it has layers that are not funcnet's own.

    Raises:
        DataError: for a file that is damaged or holds no model; without ``net``, for a file that does not describe its
            network; for a network that does not fit, naming the first difference.
        OSError: where the file cannot be read.
        TypeError: if ``net`` is not a layer.
    """
    if net is not None:
        expect_net(net)
    path = Path(path)
    content, arrays = read_tensors(path, _FORM, _VERSION)
    try:
        return _model_of(path, from_json(content, _Facts, "model"), arrays, net)
    except (ShapeError, ArithmeticError, KeyError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


def _model_of(path: Path, facts: _Facts, arrays: dict[str, Array], net: AnyLayer | None) -> Model:
    if math.prod(facts.in_shape) > _LARGEST_EXAMPLE or min(facts.in_shape, default=0) < 0:
        raise ValueError(f"expected the shape of an example, found {facts.in_shape}")
    normalize = None
    if "normalize.scale" in arrays:
        normalize = Normalization(arrays.pop("normalize.scale"), arrays.pop("normalize.shift"))
    if net is not None:
        like, _ = net.init(make_key(0), facts.in_shape)
    elif isinstance(facts.network, str):
        raise ValueError(f"{facts.network}: make the network and pass it, load_model(path, net)")
    else:
        net = make(facts.network)
        like = _params_of(net, "params", arrays)
    params = fill(path, _Params(like), arrays, facts.constants).params
    return Model(net, params, facts.in_shape, normalize, facts.classes, facts.dataset, facts.settings)


def _params_of(layer: AnyLayer, path: str, arrays: dict[str, Array]) -> Tree:
    """The params of a network of funcnet's own layers, with the arrays of a file on their paths. Nothing is drawn."""
    inside = {f"{path}.params" if layer.kind == "around" else path + place: child for place, child in layer.children}
    params = tuple(_params_of(child, place, arrays) for place, child in inside.items())
    record = contract.params_record(layer)
    if layer.children:
        return record(*params) if layer.kind == "around" else params
    return record and record(*(arrays.get(f"{path}.{field.name}") for field in attrs.fields(record)))
