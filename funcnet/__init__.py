"""funcnet: neural networks as values and pure functions, every derivative written by hand and proven.

The public names, each with its home, are listed in ``__init__.pyi``. A home is imported when one of its names is first
asked for, so that ``import funcnet`` costs nothing that is not used. Reports are in ``funcnet.report``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
