"""Proofs that derivatives are right, and that functions are pure and keep their contracts. They take your own code too.

    check_layer(linear(4), (3,), key=make_key(0))

draws a random case. It returns a report of all that holds, or raises a CheckError that says what does not hold, where,
by how much, and what the likely cause is.
"""

from funcnet.check.layer import check_layer as check_layer
from funcnet.check.losses import Targets as Targets
from funcnet.check.losses import check_loss as check_loss
from funcnet.check.losses import class_labels as class_labels
from funcnet.check.losses import counts as counts
from funcnet.check.losses import distributions as distributions
from funcnet.check.losses import real_numbers as real_numbers
from funcnet.check.losses import shares as shares
from funcnet.check.optimizers import Rule as Rule
from funcnet.check.optimizers import check_optimizer as check_optimizer
from funcnet.check.penalties import check_penalty as check_penalty
from funcnet.check.step import check_step as check_step
from funcnet.check.verdict import CheckError as CheckError
from funcnet.check.verdict import CheckReport as CheckReport
from funcnet.check.verdict import Property as Property
from funcnet.check.verdict import Refutation as Refutation
