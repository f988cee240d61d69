# %% [markdown]
# # A network in ten lines, and what is in them
#
# This notebook is made from `reports/ten_lines.py` by
#
#     jupytext --to ipynb --set-kernel python3 --execute reports/ten_lines.py
#
# It trains a small network on generated images of digits, proves a derivative, and looks at what happened.

# %%
# %matplotlib inline
import attrs
import numpy as np

import funcnet as fn
from funcnet import report
from funcnet.check import CheckError, check_layer, check_penalty
from funcnet.report.tables import class_names

# %% [markdown]
# ## The data
#
# `glyphs` is generated: no file, no download. A data set is a value: examples, targets, names of the classes.

# %%
data = fn.load("glyphs")
data

# %% [markdown]
# ## The network
#
# A layer is a record of pure functions, and a chain of layers is a layer. `init` infers every shape from that of one
# example and returns the parameters: immutable records of read-only arrays, here a tuple with an entry for each layer.

# %%
net = fn.chain(fn.flatten(), fn.linear(128), fn.relu(), fn.linear(10))
params, out_shape = net.init(fn.make_key(0), data.train.in_shape)
[(path, leaf.shape) for path, leaf in fn.tree.named_leaves(params)], out_shape

# %% [markdown]
# Forward returns the output and the residuals, what the way back needs; the vector-Jacobian product takes them and the
# gradient of the output, and returns gradients in the shape of the parameters.

# %%
images = fn.data.normalization(data.train.x)(data.train.x[:4])
logits, residuals = net.forward(params, images)
loss, dlogits = fn.softmax_cross_entropy()(logits, data.train.y[:4])
dparams, _ = net.vjp(params, residuals, dlogits, need_dx=False)
loss, [(path, leaf.shape) for path, leaf in fn.tree.named_leaves(dparams)]

# %% [markdown]
# ## Is that derivative right?
#
# The checker measures it, with an estimate of its own error, and says what it tried. Were it wrong, it would say where,
# by which factor, and why.

# %%
print(check_layer(net, data.train.in_shape, key=fn.make_key(1)))

# %% [markdown]
# ## Training
#
# `train` folds the pure step over shuffled batches and yields one record an epoch. The penalties on the two weight
# matrices are counted apart from the cross-entropy, and from each other.

# %%
optimizer = fn.nesterov(fn.one_cycle(peak=0.1, steps=5 * fn.data.batch_count(data.train, 128)))
run = fn.new_run(net, data, seed=0, epochs=5)
for record in fn.train(
    net,
    fn.init_state(params, optimizer, fn.make_key(1)),
    data,
    loss=fn.softmax_cross_entropy(),
    optimizer=optimizer,
    penalties=fn.each_weight(fn.l2(1e-3), params),
    epochs=5,
    batch_size=128,
):
    run = run.and_epoch(record)
run

# %% [markdown]
# ## What happened
#
# First in words: the rules that look for trouble, each with its numbers and its threshold.

# %%
print(report.verdict(run))
report.findings(run)

# %% [markdown]
# Then in pictures. The loss as the sum of its parts is the one that a total alone cannot replace.

# %%
report.overview_figure(run)

# %%
report.parts_figure(run)

# %% [markdown]
# Which digits are taken for one another?

# %%
assert run.examination is not None
assert run.examination.answers is not None
report.mistakes_figure(run.examination.answers, class_names(run))

# %%
report.model_table(run)

# %% [markdown]
# ## A mistake, seen
#
# The loss of a student's lab rose for 20 epochs while accuracy improved, and its author could not see why. Here is a
# likely mistake of his, made on purpose: the penalty counts in the loss, but its gradient is left out.

# %%
broken = attrs.evolve(fn.l2(2.0), grad=np.zeros_like)
slow = fn.sgd(0.1)
run = fn.new_run(net, data, seed=0, epochs=5)
for record in fn.train(
    net,
    fn.init_state(params, slow, fn.make_key(1)),
    data,
    loss=fn.softmax_cross_entropy(),
    optimizer=slow,
    penalties=fn.each_weight(broken, params),
    epochs=5,
    batch_size=16,
):
    run = run.and_epoch(record)
for finding in report.findings(run):
    print(f"{finding.title}. {finding.text}\n")

# %%
report.parts_figure(run)

# %% [markdown]
# The checker would have said so before any training, with the gradient beside the right one:

# %%
try:
    check_penalty(broken, (3, 2), key=fn.make_key(0))
except CheckError as error:
    print(error)

# %% [markdown]
# `report.write_report([run], "my-report")` writes all of it, and more, as PDF, HTML, Markdown, LaTeX and CSV, with
# `run-glyphs.json`, from which `funcnet report` makes it again.
