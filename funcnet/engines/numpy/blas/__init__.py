"""Products and sums of large arrays, by the BLAS that NumPy itself multiplies with.

``operations`` are what layers, penalties and optimizers call, ``parts`` shares a product between cores, and
``routines`` finds NumPy's own library.
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
