"""One table, in each of its forms, letter for letter."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from funcnet.table import Table, markdown_text, to_csv, to_html, to_latex, to_markdown, to_terminal

TABLE = Table("Costs & more", ("", "a|b", "x_1 < 2"), (("first", "1.5", "-"), ("the 2nd", "10", "50%")))
WORDS = Table("Settings", ("", ""), (("net", "chain(relu, [1])"), ("path", "a\\b *c*")), text=2)


def test_markdown() -> None:
    assert to_markdown(TABLE) == (
        "## Costs & more\n\n"
        "|  | a\\|b | x_1 &lt; 2 |\n"
        "| :--- | ---: | ---: |\n"
        "| first | 1.5 | - |\n"
        "| the 2nd | 10 | 50% |\n"
    )
    assert to_markdown(WORDS, level=4) == (
        "#### Settings\n\n|  |  |\n| :--- | :--- |\n| net | chain(relu, [1]) |\n| path | a\\\\b \\*c\\* |\n"
    )


def test_latex() -> None:
    assert to_latex(TABLE) == (
        "\\begin{table}[htbp]\n"
        "\\centering\\small\\setlength{\\tabcolsep}{4pt}\n"
        "\\caption{Costs \\& more}\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        " & a\\textbar{}b & x\\_1 \\textless{} 2 \\\\\n"
        "\\midrule\n"
        "first & 1.5 & - \\\\\n"
        "the 2nd & 10 & 50\\% \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )


def test_latex_of_a_table_without_a_head() -> None:
    lines = to_latex(WORDS).splitlines()
    assert lines[3:6] == ["\\begin{tabular}{lp{0.55\\linewidth}}", "\\toprule", "net & chain(relu, [1]) \\\\"]
    assert lines[6] == "path & a\\textbackslash{}b *c* \\\\"


def test_a_cell_that_latex_takes_for_an_argument() -> None:
    r"""``\\`` followed by ``[1]`` is a line break of that height, and by ``*`` one without a page's end."""
    latex = to_latex(Table("", ("", ""), (("a", "b"), ("[1].weight", "#{}~^"), ("*star", ""))))
    assert "{[1].weight} & \\#\\{\\}\\textasciitilde{}\\textasciicircum{} \\\\" in latex
    assert "{*star} & " in latex


def test_what_latex_would_set_as_other_letters() -> None:
    latex = to_latex(Table("", ("", ""), (("made by", "f --epochs 3 ---x 'y' `z`"),), text=2))
    assert r"f -{}-epochs 3 -{}-{}-x \textquotesingle{}y\textquotesingle{} \textasciigrave{}z\textasciigrave{}" in latex


def test_latex_may_break_what_no_line_holds() -> None:
    latex = to_latex(Table("", ("", ""), (("SHA-256", "0123456789abcdef" * 4),), text=2))
    assert r"\allowbreak{}".join(["0123456789abcdef"] * 4) in latex


def test_a_table_longer_than_a_page_goes_on_on_the_next() -> None:
    rows = tuple((f"class {k}", str(k)) for k in range(41))
    long = to_latex(Table("T", ("a", "b"), rows))
    assert r"\begin{longtable}{lr}" in long
    assert r"\endhead" in long
    assert "{table}" not in long
    assert long.count("{") == long.count("}")
    assert "longtable" not in to_latex(Table("T", ("a", "b"), rows[1:]))


def test_csv_is_read_back() -> None:
    table = Table("T", ("", 'a "b"', "c,d"), (("x\ny", "1", "2"),))
    assert list(csv.reader(io.StringIO(to_csv(table), newline=""))) == [list(table.columns), *map(list, table.rows)]
    assert to_csv(TABLE) == ",a|b,x_1 < 2\r\nfirst,1.5,-\r\nthe 2nd,10,50%\r\n"


def test_html() -> None:
    assert to_html(TABLE) == (
        "<table><caption>Costs &amp; more</caption>"
        '<thead><tr><th scope="col" style="text-align: left"></th>'
        '<th scope="col">a|b</th><th scope="col">x_1 &lt; 2</th></tr></thead>'
        "<tbody>\n"
        '<tr><th scope="row" style="text-align: left">first</th><td>1.5</td><td>-</td></tr>\n'
        '<tr><th scope="row" style="text-align: left">the 2nd</th><td>10</td><td>50%</td></tr>\n'
        "</tbody></table>\n"
    )
    assert to_html(WORDS).startswith(
        '<table><caption>Settings</caption><tbody>\n<tr><th scope="row" style="text-align: left">net</th>'
        '<td style="text-align: left">'
    )


def test_text_and_numbers_side_by_side() -> None:
    table = Table("T", ("a", "b", "c"), (("x", "y", "1"),), text=2)
    assert to_markdown(table).splitlines()[3] == "| :--- | :--- | ---: |"
    assert r"\begin{tabular}{lp{0.55\linewidth}r}" in to_latex(table)
    assert '<td style="text-align: left">y</td><td>1</td>' in to_html(table)


def test_nothing_in_markdown_is_emphasis_or_a_tag() -> None:
    assert markdown_text("_a_ b_c *d* <i> `e`\n# f") == r"\_a\_ b_c \*d\* &lt;i> \`e\` # f"
    assert markdown_text("~~a~~ ![b](c) [1].weight & &amp; $x$ a~b") == (
        r"\~\~a\~\~ ![b]\(c) [1].weight & &amp;amp; \$x\$ a~b"
    )


def test_terminal() -> None:
    lines = to_terminal(TABLE, width=60).splitlines()
    assert [line.split() for line in lines if line and "─" not in line] == [
        ["Costs", "&", "more"],
        ["a|b", "x_1", "<", "2"],
        ["first", "1.5", "-"],
        ["the", "2nd", "10", "50%"],
    ]
    numbers = [line for line in lines if "1.5" in line or "10 " in line]
    assert len({line.index(end) + len(end) for line, end in zip(numbers, ("1.5", "10"), strict=True)}) == 1


def test_a_narrow_terminal_loses_no_letter() -> None:
    text = to_terminal(Table("T", ("", ""), (("name", "abcdefgh" * 9),), text=2), width=30)
    assert max(map(len, text.splitlines())) <= 30
    assert sum(text.count(letter) for letter in "bcdfgh") == 9 * 6


def test_marks_of_the_terminal_are_letters() -> None:
    assert "[bold]x[/bold]" in to_terminal(Table("T", ("a", "b"), (("[bold]x[/bold]", "1"),)), width=60)


def test_rows_have_as_many_cells_as_there_are_columns() -> None:
    with pytest.raises(ValueError, match="T: a row of 1 cells in a table of 2 columns"):
        Table("T", ("a", "b"), (("1", "2"), ("1",)))


def test_a_table_shows_itself_in_a_notebook() -> None:
    assert TABLE._repr_html_() == to_html(TABLE)
    assert TABLE._repr_markdown_() == to_markdown(TABLE)


def test_a_table_without_rows() -> None:
    empty = Table("T", ("a", "b"), ())
    assert to_markdown(empty).endswith("| a | b |\n| :--- | ---: |\n")
    assert to_html(empty).endswith("<tbody>\n</tbody></table>\n")
    assert "T" in to_terminal(empty, width=40)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Columns of words, then of numbers."""
    words = st.lists(st.sampled_from(["a", "word", "longerword", "猫犬", "checksum" * 8]), min_size=1, max_size=4)
    columns, rows = draw(st.integers(1, 7)), draw(st.integers(0, 4))
    text = draw(st.integers(1, min(2, columns)))
    number = st.integers(0, 10**13).map(str)
    return Table(
        "A table of some words",
        tuple(" ".join(draw(st.lists(st.text("H", min_size=1, max_size=9), max_size=3))) for _ in range(columns)),
        tuple(
            tuple(" ".join(draw(words)) if place < text else draw(number) for place in range(columns))
            for _ in range(rows)
        ),
        text=text,
    )


@given(tables(), st.sampled_from([20, 30, 40, 60, 80]))
def test_no_terminal_is_too_narrow(table: Table, width: int) -> None:
    """No line is too long, no cell is lost, and no number is broken."""
    drawn = to_terminal(table, width)
    assert max(map(cell_len, drawn.splitlines())) <= width
    for row in table.rows:
        assert all(cell in drawn for cell in row[table.text :])
        assert all(drawn.count(letter) >= cell.count(letter) for cell in row for letter in set(cell) - {" "})


def test_columns_that_do_not_fit_stand_below_one_another() -> None:
    table = Table("Runs", ("", "Final Loss", "Accuracy", "Kind"), (("one", "0.25", "0.5", "-"), ("two", "1", "2", "3")))
    assert to_terminal(table, 20) == (
        "Runs\n\none\n  Final Loss: 0.25\n  Accuracy: 0.5\n  Kind: -\ntwo\n  Final Loss: 1\n  Accuracy: 2\n  Kind: 3\n"
    )
    assert "  one         0.25        0.5      -\n" in to_terminal(table, 40)
    assert "  one       0.25        0.5      -\n" in to_terminal(table, 36)  # the heading takes two lines
    nameless = Table("T", ("", ""), (("the first name", "1" * 20),))
    assert to_terminal(nameless, 24) == f"T\n\nthe first name\n  {'1' * 20}\n"


def test_what_no_output_can_hold_is_in_no_form_of_a_table() -> None:
    table = Table("T\udcff", ("\x1b[1m", "b"), (("\ud800", "1"),))
    for write in (to_csv, to_html, to_latex, to_markdown, to_terminal):
        written = write(table)
        assert "\x1b" not in written
        written.encode()
    assert table.rows == (("\\ud800", "1"),)
