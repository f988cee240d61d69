"""Optimizers, composed of gradient transformations, and the learning rates that they follow.

    compose(clip_by_global_norm(1.0), scale_by_adam(), add_decayed_weights(1e-2), scale_by_learning_rate(1e-3))

is an optimizer. Those with names, such as ``momentum(0.1)``, are such chains. See ``funcnet.optimizers.optimizer``.
"""

from funcnet.optimizers.groups import Where as Where
from funcnet.optimizers.groups import by_path as by_path
from funcnet.optimizers.named import adagrad as adagrad
from funcnet.optimizers.named import adam as adam
from funcnet.optimizers.named import adamw as adamw
from funcnet.optimizers.named import lamb as lamb
from funcnet.optimizers.named import lion as lion
from funcnet.optimizers.named import momentum as momentum
from funcnet.optimizers.named import muon as muon
from funcnet.optimizers.named import nesterov as nesterov
from funcnet.optimizers.named import rmsprop as rmsprop
from funcnet.optimizers.named import sgd as sgd
from funcnet.optimizers.optimizer import Moment as Moment
from funcnet.optimizers.optimizer import Optimizer as Optimizer
from funcnet.optimizers.optimizer import Schedule as Schedule
from funcnet.optimizers.optimizer import apply_updates as apply_updates
from funcnet.optimizers.optimizer import compose as compose
from funcnet.optimizers.optimizer import expect_optimizer as expect_optimizer
from funcnet.optimizers.schedules import constant as constant
from funcnet.optimizers.schedules import cosine as cosine
from funcnet.optimizers.schedules import end_of_schedule as end_of_schedule
from funcnet.optimizers.schedules import exponential as exponential
from funcnet.optimizers.schedules import joined as joined
from funcnet.optimizers.schedules import linear_warmup as linear_warmup
from funcnet.optimizers.schedules import one_cycle as one_cycle
from funcnet.optimizers.schedules import piecewise as piecewise
from funcnet.optimizers.schedules import piecewise_linear as piecewise_linear
from funcnet.optimizers.schedules import polynomial as polynomial
from funcnet.optimizers.schedules import step_decay as step_decay
from funcnet.optimizers.schedules import until as until
from funcnet.optimizers.transformations import Mask as Mask
from funcnet.optimizers.transformations import add_decayed_weights as add_decayed_weights
from funcnet.optimizers.transformations import clip_by_global_norm as clip_by_global_norm
from funcnet.optimizers.transformations import clip_by_value as clip_by_value
from funcnet.optimizers.transformations import orthogonalize as orthogonalize
from funcnet.optimizers.transformations import reduce_on_plateau as reduce_on_plateau
from funcnet.optimizers.transformations import scale_by_adagrad as scale_by_adagrad
from funcnet.optimizers.transformations import scale_by_adam as scale_by_adam
from funcnet.optimizers.transformations import scale_by_learning_rate as scale_by_learning_rate
from funcnet.optimizers.transformations import scale_by_lion as scale_by_lion
from funcnet.optimizers.transformations import scale_by_rms as scale_by_rms
from funcnet.optimizers.transformations import scale_by_trust_ratio as scale_by_trust_ratio
from funcnet.optimizers.transformations import trace as trace
from funcnet.optimizers.transformations import weights_only as weights_only
from funcnet.optimizers.wrappers import accumulate as accumulate
from funcnet.optimizers.wrappers import average as average
from funcnet.optimizers.wrappers import lookahead as lookahead
