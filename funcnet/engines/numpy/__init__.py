"""The NumPy engine: the fast kernels, each beside its measurement.

blas/           products and sums in place, by NumPy's own BLAS
chunks.py       functions of large arrays in chunks that fit a cache
kernel.py       the interface of a layer's kernel
linear.py, activations.py, reshape.py, losses.py, penalties.py, optimizers.py      the kernels
planner.py      from a network to kernels; decides which buffers they may write over
engine.py       the step, and predictions
"""
