"""One table, in each of its forms, letter for letter."""

import csv
import io

import pytest

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
        '<thead><tr><th scope="col" class="text"></th>'
        '<th scope="col">a|b</th><th scope="col">x_1 &lt; 2</th></tr></thead>'
        "<tbody>\n"
        '<tr><th scope="row" class="text">first</th><td>1.5</td><td>-</td></tr>\n'
        '<tr><th scope="row" class="text">the 2nd</th><td>10</td><td>50%</td></tr>\n'
        "</tbody></table>\n"
    )
    assert to_html(WORDS).startswith(
        '<table><caption>Settings</caption><tbody>\n<tr><th scope="row" class="text">net</th><td class="text">'
    )


def test_text_and_numbers_side_by_side() -> None:
    table = Table("T", ("a", "b", "c"), (("x", "y", "1"),), text=2)
    assert to_markdown(table).splitlines()[3] == "| :--- | :--- | ---: |"
    assert r"\begin{tabular}{lp{0.55\linewidth}r}" in to_latex(table)
    assert '<td class="text">y</td><td>1</td>' in to_html(table)


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
