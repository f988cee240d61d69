"""Files that reach new lines of a reader, found by Atheris: ``python tests/fuzz/with_atheris.py READER RUNS``.

Atheris (https://github.com/google/atheris) counts the lines of funcnet that a file reaches, and changes those that
reached new ones. It ends with an error at the first fault, and leaves the file that shows it in the current folder.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
with atheris.instrument_imports(include=["funcnet", "gzip", "tarfile", "json"]):
    from readers import READERS


def main() -> None:
    name, runs = sys.argv[1:]
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(reader.seeds):
            (corpus / str(number)).write_bytes(seed)
        (Path(folder) / "in").mkdir()
        path = Path(folder) / "in" / "file"

        def one(content: bytes) -> None:
            path.write_bytes(content)
            with suppress(*reader.refuses):
                reader.read(path)

        limits = [f"-runs={runs}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-verbosity=1"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
        atheris.Fuzz()


main()
