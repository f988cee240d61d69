"""The NumPy engine: all that is fast, each kernel beside its measurement.

blas/           products and sums in place, by NumPy's own BLAS
chunks.py       functions of large arrays in chunks that a cache holds
kernel.py       what a kernel of a layer is
linear.py, activations.py, reshape.py, losses.py, penalties.py, optimizers.py      the kernels
planner.py      from a network to kernels, and which buffers they may write over
engine.py       the step, and predictions
"""
