"""Files that were damaged: cut short, or with a flipped bit, at random places."""

import random
from collections.abc import Iterator

KINDS = ("cut", "flip")


def damaged(whole: bytes, kind: str, count: int = 200) -> Iterator[bytes]:
    """The content with one damage of that kind at each of so many places."""
    draw = random.Random(kind)
    for place in draw.sample(range(len(whole)), count):
        content = bytearray(whole)
        if kind == "cut":
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        yield bytes(content)
