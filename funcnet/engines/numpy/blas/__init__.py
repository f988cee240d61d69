"""Products and sums of large arrays, by the BLAS library that NumPy itself uses.

The kernels call ``operations``. ``parts`` divides a product among the cores. ``routines`` finds NumPy's library.
"""

from funcnet.engines.numpy.blas.operations import (
    add_bias,
    axpby,
    axpy,
    fast_order,
    gemm,
    product,
    scale,
    sum_of_rows,
)

__all__ = ["add_bias", "axpby", "axpy", "fast_order", "gemm", "product", "scale", "sum_of_rows"]
