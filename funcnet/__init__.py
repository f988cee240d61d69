"""funcnet: neural networks as values and pure functions, every derivative written by hand and proven.

Reports, which need matplotlib, are in ``funcnet.report`` and imported only when asked for.
"""

from funcnet import data as data
from funcnet import random as random
from funcnet import tree as tree
from funcnet.data.dataset import DataError as DataError
from funcnet.data.registry import load as load
from funcnet.examine import examine as examine
from funcnet.layer import Layer as Layer
from funcnet.layer import chain as chain
from funcnet.layers.activations import gelu as gelu
from funcnet.layers.activations import leaky_relu as leaky_relu
from funcnet.layers.activations import relu as relu
from funcnet.layers.activations import sigmoid as sigmoid
from funcnet.layers.activations import softplus as softplus
from funcnet.layers.activations import tanh as tanh
from funcnet.layers.initializers import glorot as glorot
from funcnet.layers.initializers import he as he
from funcnet.layers.linear import linear as linear
from funcnet.layers.reshape import flatten as flatten
from funcnet.layers.reshape import identity as identity
from funcnet.losses import Loss as Loss
from funcnet.losses import binary_cross_entropy as binary_cross_entropy
from funcnet.losses import mean_squared_error as mean_squared_error
from funcnet.losses import softmax_cross_entropy as softmax_cross_entropy
from funcnet.optimizers import Optimizer as Optimizer
from funcnet.optimizers import momentum as momentum
from funcnet.optimizers import nesterov as nesterov
from funcnet.optimizers import one_cycle as one_cycle
from funcnet.optimizers import sgd as sgd
from funcnet.penalties import Penalty as Penalty
from funcnet.penalties import each_weight as each_weight
from funcnet.penalties import l1 as l1
from funcnet.penalties import l2 as l2
from funcnet.random import Key as Key
from funcnet.random import make_key as make_key
from funcnet.record import RunRecord as RunRecord
from funcnet.record import new_run as new_run
from funcnet.shapes import ShapeError as ShapeError
from funcnet.step import Batch as Batch
from funcnet.step import Evaluation as Evaluation
from funcnet.step import TrainState as TrainState
from funcnet.step import copy_state as copy_state
from funcnet.step import evaluate as evaluate
from funcnet.step import make_grad as make_grad
from funcnet.step import make_step as make_step
from funcnet.step import start as start
from funcnet.train import DivergenceError as DivergenceError
from funcnet.train import EpochRecord as EpochRecord
from funcnet.train import train as train
from funcnet.version import __version__ as __version__
