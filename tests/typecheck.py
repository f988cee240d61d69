"""The checker that every annotation of the package is enforced with: whole numbers pass for floats, as in PEP 484."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
