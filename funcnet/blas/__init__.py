"""Products and sums of large arrays, by the BLAS that NumPy itself multiplies with.

``operations`` are what layers, penalties and optimizers call, ``parts`` shares a product between cores, and
``routines`` finds NumPy's own library.
"""

from funcnet.blas.operations import (
    add_product,
    add_row,
    add_scaled,
    fast_order,
    keep_and_add,
    product,
    scale,
    sum_of_rows,
)

__all__ = ["add_product", "add_row", "add_scaled", "fast_order", "keep_and_add", "product", "scale", "sum_of_rows"]
