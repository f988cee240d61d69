"""Tables as values, and as Markdown, LaTeX, CSV, HTML and terminal text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from funcnet.text import printable

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table as RichTable

__all__ = ["Table", "to_csv", "to_html", "to_latex", "to_markdown", "to_terminal"]

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "│": r"\textbar{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "\0": "{}", "\n": r"\allowbreak{}",
}  # fmt: skip
_LONG = 40  # rows, more than a page may hold
_NARROW = 12  # columns of a terminal, in which a text can still be read
_TEXT_SHARE = 0.55  # of a line, for the texts beside the rows' names


def _as_wide(table: Table, attribute: attrs.Attribute[tuple[tuple[str, ...], ...]], rows: object) -> None:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"{table.title}: a row of {len(row)} cells in a table of {len(table.columns)} columns")


def _printable_cells(cells: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(printable, cells))


def _printable_rows(rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(_printable_cells, rows))


@attrs.frozen
class Table:
    """A title, a heading for each column, and rows of as many cells. The first column names the rows.

    What no output can hold, such as half a letter, is written with a backslash: see ``printable``.

    Attributes:
        title: what the table shows.
        columns: the headings; all empty for a table without a head.
        rows: the cells, row by row.
        text: how many columns, from the first, hold text, which starts on the left; the others hold numbers, which
            end on the right.

    Raises:
        ValueError: for a row of another length.
    """

    title: str = attrs.field(converter=printable)
    columns: tuple[str, ...] = attrs.field(converter=_printable_cells)
    rows: tuple[tuple[str, ...], ...] = attrs.field(converter=_printable_rows, validator=_as_wide)
    text: int = 1

    def _repr_markdown_(self) -> str:
        return to_markdown(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def to_markdown(table: Table, level: int = 2) -> str:
    """The table under its title, a heading of that level, as GitHub reads it."""
    rule = tuple(":---" if place < table.text else "---:" for place in range(len(table.columns)))
    lines = [_cells(table.columns), rule, *map(_cells, table.rows)]
    return f"{'#' * level} {markdown_text(table.title)}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: tuple[str, ...]) -> tuple[str, ...]:
    """The cells as Markdown, in which no text within a cell ends it."""
    return tuple(markdown_text(cell).replace("|", "\\|") for cell in row)


def markdown_text(text: str) -> str:
    """A text of one line in which nothing is taken for a tag, emphasis, a link or mathematics."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split())).replace("\\", "\\\\").replace("<", "&lt;")
    return re.sub(r"([*`$]|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~|(?<=])\()", r"\\\1", text)


def to_latex(table: Table) -> str:
    """The table as a LaTeX float with the rules of the booktabs package; a long one over pages, by longtable."""
    texts = max(1, table.text - 1)
    wide = rf"p{{{_TEXT_SHARE / texts:.2f}\linewidth}}"
    align = "".join("r" if at >= table.text else wide if at else "l" for at in range(len(table.columns)))
    head = [r"\toprule", *([_latex_row(table.columns), r"\midrule"] if any(table.columns) else [])]
    body = [*map(_latex_row, table.rows), r"\bottomrule"]
    size, caption = r"\small\setlength{\tabcolsep}{4pt}", rf"\caption{{{_latex(table.title)}}}"
    if len(table.rows) > _LONG:
        lines = [
            rf"{{{size}",
            rf"\begin{{longtable}}{{{align}}}",
            rf"{caption} \\",
            *head,
            r"\endhead",
            *body,
            r"\end{longtable}}",
        ]
    else:
        lines = [
            r"\begin{table}[htbp]",
            rf"\centering{size}",
            caption,
            rf"\begin{{tabular}}{{{align}}}",
            *head,
            *body,
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _latex_row(row: tuple[str, ...]) -> str:
    return " & ".join(map(_latex, row)) + r" \\"


def _latex(text: str) -> str:
    text = re.sub(r"-(?=-)", "-\0", " ".join(text.split()))  # two hyphens are no dash
    text = re.sub(r"(\S{16})(?=\S{16})", "\\1\n", text)  # where a long word, a checksum, may break
    text = "".join(_LATEX.get(letter, letter) for letter in text)
    return f"{{{text}}}" if text.startswith(("[", "*")) else text  # \\ would take it for its own argument


def to_csv(table: Table) -> str:
    """The heading and the rows, comma-separated (RFC 4180); the title is left out."""
    import csv  # imported where they are needed
    import io

    text = io.StringIO()
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue()


def to_html(table: Table) -> str:
    """The table as an HTML element."""
    head = "".join(
        _html_cell("th", cell, 'scope="col"', place < table.text) for place, cell in enumerate(table.columns)
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(table.columns) else ""
    lines = (
        _html_cell("th", row[0], 'scope="row"', text=True)
        + "".join(_html_cell("td", cell, "", place < table.text) for place, cell in enumerate(row[1:], 1))
        for row in table.rows
    )
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table><caption>{_escaped(table.title)}</caption>{head}<tbody>\n{body}</tbody></table>\n"


def _html_cell(tag: str, cell: str, attributes: str, text: bool) -> str:
    start = " ".join(filter(None, (tag, attributes, 'style="text-align: left"' if text else "")))
    return f"<{start}>{_escaped(cell)}</{tag}>"


def _escaped(text: str) -> str:
    import html  # imported where it is needed

    return html.escape(text)


def to_terminal(table: Table, width: int | None = None) -> str:
    """The table as text with lines and emphasis for a terminal of ``width`` columns (None: as wide as it is).

    Where its columns do not fit side by side, the cells of a row stand below one another, each after its heading.
    """
    from rich.console import Console, Group  # imported where they are needed
    from rich.text import Text

    console = Console(width=width)
    room = console.width - 2 * len(table.columns) - 2  # but for what is between the columns and at the sides
    least, most = _widths(table)
    if sum(least) > room:
        body: RenderableType = _stacked(table)
    else:
        body = _side_by_side(table, least if sum(most) > room else None)
    with console.capture() as capture:
        console.print(Group(Text(table.title, style="italic"), body))
    return re.sub(r" +$", "", capture.get(), flags=re.MULTILINE)


def _widths(table: Table) -> tuple[list[int], list[int]]:
    """How wide each column must be, its numbers whole and its texts on several lines; and how wide it may be."""
    from rich.cells import cell_len  # imported where it is needed

    least, most = [], []
    for place, heading in enumerate(table.columns):
        longest = max((cell_len(row[place]) for row in table.rows), default=0)
        word = max(map(cell_len, heading.split()), default=0)
        least.append(max(word, longest if place >= table.text else min(longest, _NARROW)))
        most.append(max(cell_len(heading), longest))
    return least, most


def _side_by_side(table: Table, least: list[int] | None) -> RichTable:
    """The columns beside one another; where ``least`` is given, numbers take no more than that."""
    from rich import box  # imported where they are needed
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, show_header=any(table.columns))
    for place, column in enumerate(table.columns):
        number = place >= table.text
        drawn.add_column(
            Text(column), justify="right" if number else "left", overflow="fold",
            width=least[place] if number and least else None,
        )  # fmt: skip
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _stacked(table: Table) -> Group:
    from rich.console import Group  # imported where they are needed
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Text | Padding] = [Text("")]
    for name, *cells in table.rows:
        lines.append(Text(name, style="bold", overflow="fold"))
        for heading, cell in zip(table.columns[1:], cells, strict=True):
            text = f"{heading}: {cell}" if heading else cell
            if cell:
                lines.append(Padding(Text(text, overflow="fold"), (0, 0, 0, 2)))
    return Group(*lines)
