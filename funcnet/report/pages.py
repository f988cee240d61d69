"""A document as pages: PDF (set by Typst), one HTML file that needs nothing else, and Markdown."""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import typst
from matplotlib.figure import Figure

from funcnet.arrays import shielded
from funcnet.report.document import Block, Document, Heading, Paragraph, Plot
from funcnet.report.findings import Finding
from funcnet.report.style import BLUE, COLUMN, GREY, INK, PAGE
from funcnet.table import Table, markdown_text, to_markdown

__all__ = ["to_html_page", "to_markdown_page", "to_pdf"]

_RESOLUTION = 200  # of pictures within vector graphics, in dots an inch
_STACKED = 6  # rows of numbers that a telephone shows one below the other; a table of more scrolls
# Letters of a word for which there is room in a line, in one of the largest type, and in a column of words.
_LINE, _HEADING, _NARROW = 64, 32, 32


_Part: TypeAlias = Heading | Paragraph | Finding | Table | tuple[Plot, ...]


@shielded
def to_pdf(document: Document) -> bytes:
    """The document on A4 pages: text, rules and curves as vectors, figures and tables numbered."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = [_for_paper(block, place, Path(folder)) for place, block in enumerate(_paired(document.blocks))]
        content = {"title": _breakable(document.title, _HEADING), "blocks": blocks}
        Path(folder, "document.json").write_text(json.dumps(content), encoding="utf-8")
        Path(folder, "report.typ").write_bytes(_template("report.typ"))
        # No date of its making: the same runs make the same pages.
        pdf: bytes = typst.compile(str(Path(folder, "report.typ")), root=folder, timestamp=0)
    return pdf


def _paired(blocks: Sequence[Block]) -> Iterator[_Part]:
    """The blocks, with figures in rows: two that need only a column stand side by side, any other by itself."""
    rest = list(blocks)
    while rest:
        match rest:
            case [Plot(wide=False) as one, Plot(wide=False) as other, *rest]:
                yield one, other
            case [Plot() as one, *rest]:
                yield (one,)
            case [Heading() | Paragraph() | Finding() | Table() as block, *rest]:
                yield block


def _for_paper(block: _Part, place: int, folder: Path) -> dict[str, Any]:
    match block:
        case Heading(text, level, new_page):
            return {"kind": "heading", "level": level, "new_page": new_page, "text": _breakable(text, _HEADING)}
        case Paragraph(text):
            return {"kind": "paragraph", "text": _breakable(text)}
        case Finding(_, title, text, threshold):
            return {
                "kind": "finding", "title": _breakable(title), "text": _breakable(text),
                "threshold": _breakable(threshold),
            }  # fmt: skip
        case Table(title, columns, rows, text):
            room = _NARROW if any(columns) else _LINE
            cells = [[_breakable(cell, room) for cell in row] for row in rows]
            return {"kind": "table", "title": _breakable(title), "columns": columns, "rows": cells, "text": text}
        case _:
            plots = []
            for number, plot in enumerate(block):
                file, figure = f"{place}-{number}.pdf", plot.draw(width=PAGE if len(block) == 1 else COLUMN)
                figure.savefig(folder / file, format="pdf", dpi=_RESOLUTION, metadata={"CreationDate": None})
                plots.append({"file": file, "alt": plot.alt, "caption": _breakable(plot.caption, _NARROW)})
            return {"kind": "plots", "plots": plots}


def _breakable(text: str, room: int = _LINE) -> str:
    """The text with places, which do not show, where a line may end within words that no line has room for.

    Checksums have room: who copies one gets nothing else.
    """
    return re.sub(rf"(\S{{{room}}})(?=\S{{8}})", "\\1\u200b", text)


@shielded
def to_html_page(document: Document) -> str:
    """The document as one HTML file, figures inline: it works offline, light and dark, on paper and on a telephone."""
    blocks = [_for_screen(block, place) for place, block in enumerate(_paired(document.blocks))]
    headings = [block for block in blocks if block["kind"] == "heading"]
    template = jinja2.Environment(autoescape=True).from_string(_template("report.html.jinja").decode())
    return template.render(title=document.title, blocks=blocks, headings=headings) + "\n"


def _for_screen(block: _Part, place: int) -> dict[str, Any]:
    match block:
        case Heading(text, level, new_page):
            return {
                "kind": "heading", "level": level, "new_page": new_page, "text": text, "id": f"section-{place}",
            }  # fmt: skip
        case Paragraph(text):
            return {"kind": "paragraph", "text": text}
        case Finding(_, title, text, threshold):
            return {"kind": "finding", "title": title, "text": text, "threshold": threshold}
        case Table(title, columns, rows, text):
            return {
                "kind": "table", "title": title, "columns": columns, "rows": rows, "text": text,
                "headed": any(columns), "stacked": len(rows) <= _STACKED or text > 1, "id": f"table-{place}",
            }  # fmt: skip
        case _:
            # A figure by itself is there twice, for a page and for a telephone: one of the two is shown.
            widths = {"page": PAGE, "column": COLUMN} if len(block) == 1 else {"column": COLUMN}
            plots = [
                {
                    "alt": plot.alt,
                    "caption": plot.caption,
                    "drawn": {
                        name: _inline_svg(plot.draw(width=width), f"{name[0]}{place}-{number}-")
                        for name, width in widths.items()
                    },
                }
                for number, plot in enumerate(block)
            ]
            return {"kind": "plots", "plots": plots}


def _inline_svg(figure: Figure, prefix: str) -> str:
    """The figure as an SVG element that takes its ink from the page and shares no id with the page's others."""
    text = io.StringIO()
    figure.savefig(text, format="svg", dpi=_RESOLUTION, transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", svg)
    # matplotlib draws some of the ids at random; in order of appearance, the same runs make the same page.
    ids: dict[str, int] = {}
    svg = re.sub(r'\b(id="|href="#|url\(#)([^")]+)', lambda m: f"{m[1]}{prefix}{ids.setdefault(m[2], len(ids))}", svg)
    for colour, variable in ((INK, "ink"), (GREY, "line"), (BLUE, "blue")):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.strip()


@shielded
def to_markdown_page(document: Document, figures: str) -> str:
    """The document as Markdown, with its figures as ``<figures>/<name>.png`` beside it."""
    return f"# {markdown_text(document.title)}\n\n" + "\n".join(
        _in_markdown(block, figures) for block in document.blocks
    )


def _in_markdown(block: Block, figures: str) -> str:
    match block:
        case Heading(text, level, _):
            return f"{'#' * (level + 1)} {markdown_text(text)}\n"
        case Paragraph(text):
            return f"{markdown_text(text)}\n"
        case Finding(_, title, text, threshold):
            return f"**{markdown_text(title)}.** {markdown_text(text)}\n\n_Rule: {markdown_text(threshold)}._\n"
        case Table():
            return f"{to_markdown(block, level=4)}"
        case Plot(name, alt, caption):
            return f"![{markdown_text(alt)}]({figures}/{name}.png)\n\n_{markdown_text(caption)}_\n"


def _template(name: str) -> bytes:
    return (files("funcnet.report") / name).read_bytes()
