import re
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib
import pytest
from PIL import Image
from pypdf import PdfReader
from runs import run_record, whole_run

from funcnet.report.document import Document, Heading, Paragraph, Plot, document
from funcnet.report.findings import findings, verdict
from funcnet.report.pages import to_html_page, to_markdown_page, to_pdf
from funcnet.table import Table

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def run_pdf() -> PdfReader:
    return PdfReader(BytesIO(to_pdf(document([whole_run("one"), run_record("two")], "A title"))))


@pytest.fixture(scope="module")
def page() -> str:
    return to_html_page(document([whole_run("one"), run_record("two")], "A <title>"))


def flat(text: str) -> str:
    """Text as it was before lines were broken."""
    return re.sub(r"\s+", " ", text.replace("\u200b", ""))


def test_pdf_has_everything_in_its_order(run_pdf: PdfReader) -> None:
    assert run_pdf.metadata.title == "A title"
    text = flat(" ".join(p.extract_text() for p in run_pdf.pages))
    one = whole_run("one")
    places = [
        text.find(part)
        for part in (
            "A title", "Contents.", "1.1 Findings (p. 1)", "2.3 Setup (p. ", "Table 1: Runs", "1: one, seed 7", "6.750",
            "A network of 39 parameters", "Results after 3 epochs",
            verdict(one)[:40], findings(one)[0].title[:30], "Loss After Each Epoch", "l2 penalty of [3].weight",
            "Parts of the Training Loss", "Update-to-Weight Ratio", "Confusion Matrix", "Precision, Recall and F1",
            "True class", "Reliability", "Settings", "python train.py", "Environment", "SkylakeX",
            "A network was trained on two",
        )
    ]  # fmt: skip
    assert -1 not in places
    assert places == sorted(places)


def test_pdf_starts_a_page_for_every_run(run_pdf: PdfReader) -> None:
    starts = [k for k, p in enumerate(run_pdf.pages) if "2 two" in flat(p.extract_text())[:60]]
    assert len(starts) == 1
    assert "A title" in run_pdf.pages[-1].extract_text()  # in the footer, with the page's number
    count = len(run_pdf.pages)
    assert f"{count} / {count}" in run_pdf.pages[-1].extract_text()


def test_pdf_curves_are_vectors() -> None:
    assert not any(p.images for p in PdfReader(BytesIO(to_pdf(document([run_record()], "T")))).pages)


def test_pdf_of_the_same_runs_is_the_same() -> None:
    assert to_pdf(document([run_record()], "T")) == to_pdf(document([run_record()], "T"))


def test_pdf_breaks_what_is_too_long_for_a_line() -> None:
    """Checksums and the names of networks; nothing is cut at the page's edge."""
    name = "x" * 300
    content = Document("T", (Heading("h"), Table("S", ("", ""), (("network", name),), text=2), Paragraph(name)))
    (sheet,) = PdfReader(BytesIO(to_pdf(content))).pages
    text = sheet.extract_text().replace("\u200b", "")
    assert text.count("x") >= 600
    assert max(map(len, text.splitlines())) < 110


def places_of(content: Document) -> dict[str, float]:
    """How far to the right each text of the only page begins, in points."""
    (sheet,) = PdfReader(BytesIO(to_pdf(content))).pages
    places: dict[str, float] = {}
    sheet.extract_text(
        visitor_text=lambda text, cm, tm, *_: places.setdefault(text.strip(" \n\u200b"), tm[4] * cm[0] + cm[4])
    )
    return places


def test_long_names_of_classes_leave_room_for_the_columns_beside_them() -> None:
    name = "North American river otter (Lontra canadensis), swimming or at rest on a stone in the water"
    rows = tuple((name, name, "9", "1%") for _ in range(3))
    columns = ("True class", "Predicted", "Times", "Share of the true class")
    places = places_of(Document("T", (Table("Mistakes", columns, rows, text=2),)))
    starts = [places[head] for head in ("True class", "Predicted", "Times")]
    assert starts[1] - starts[0] > 120
    assert starts[2] - starts[1] > 120


def test_a_long_word_leaves_room_for_the_numbers_beside_it() -> None:
    word = "a_class_name_without_a_place_for_a_new_line_that_goes_on_and_on_and_on"
    columns = ("Class", "F1", "Recall", "Precision", "Examples", "Predicted")
    table = Table("Classes", columns, ((word, *(f"{k}.000" for k in range(5))),))
    places = places_of(Document("T", (table,)))
    assert places["0.000"] > places["Class"] + 150
    assert places[word[:32]] == places[word[32:]] == places["Class"]


def test_a_long_head_takes_two_lines_and_the_names_of_layers_one() -> None:
    costs = ("Output shape", "Parameters", "Not trained", "Multiply-adds", "Bytes for the backward pass")
    layer = "│ │ │ │ │ │ [0] depthwise_conv2d"
    table = Table("Network", ("Layer", *costs), ((layer, "32 x 32 x 8", "80", "0", "73,728", "32,768"),))
    (sheet,) = PdfReader(BytesIO(to_pdf(Document("T", (table,))))).pages
    lines = [line.strip() for line in sheet.extract_text().splitlines()]
    assert any(line.endswith("Bytes for the") for line in lines)
    assert any(line.startswith(layer) for line in lines)


def test_nothing_in_a_text_is_markup() -> None:
    content = Document("#T *x* $y$", (Heading("= _h_ @a <b>"), Paragraph("#panic() \\ // no comment `code` ~ --- 'q'")))
    text = flat(PdfReader(BytesIO(to_pdf(content))).pages[0].extract_text())
    for part in ("#T *x* $y$", "= _h_ @a <b>", "#panic() \\ // no comment `code` ~ --- 'q'"):
        assert part in text


def test_a_long_table_goes_on_on_the_next_page_under_its_head() -> None:
    rows = tuple((f"row {k}", str(k)) for k in range(120))
    pages = PdfReader(BytesIO(to_pdf(Document("T", (Table("Long", ("", "Number"), rows),))))).pages
    assert len(pages) > 1
    assert all("Number" in p.extract_text() for p in pages)
    assert "row 119" in pages[-1].extract_text()


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_needs_nothing_else(page: str) -> None:
    elements = Elements(page)
    for tag, attributes in elements.tags:
        assert tag not in ("script", "link", "img", "iframe")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("#", "data:")), value
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_html_has_everything(page: str) -> None:
    elements = Elements(page)
    tags = Counter(tag for tag, _ in elements.tags)
    content = document([whole_run("one"), run_record("two")], "A <title>")
    kinds = Counter(type(block).__name__ for block in content.blocks)
    assert (tags["figure"], tags["table"]) == (kinds["Plot"], kinds["Table"])
    assert kinds["Plot"] < tags["svg"] < 2 * kinds["Plot"]  # those by themselves are there for two widths
    assert "A <title>" in elements.text
    assert "US$ & <co>" in elements.text
    for finding in findings(whole_run("one")):
        assert finding.title in elements.text
        assert finding.text in elements.text
        assert f"Rule: {finding.threshold}." in elements.text


def test_html_ids_are_its_own_and_its_links_lead_somewhere(page: str) -> None:
    """Figures, each a whole SVG of its own, must not clip each other."""
    elements = Elements(page)
    ids = Counter(attributes["id"] for _, attributes in elements.tags if "id" in attributes)
    assert ids.most_common(1)[0][1] == 1
    links = {v[1:] for _, a in elements.tags for n, v in a.items() if n in ("href", "xlink:href") and v[0] == "#"}
    clips = set(re.findall(r"url\(#([^)]*)\)", page))
    assert links | clips <= set(ids)
    headings = [a["id"] for tag, a in elements.tags if tag in ("h2", "h3")]
    assert [v for v in links if v.startswith("section-")]
    assert set(headings) == {v for v in links if v.startswith("section-")}  # the contents


def test_html_tells_readers_who_do_not_see_what_is_what(page: str) -> None:
    """Headings of rows and columns are marked, and every figure has a text in its place."""
    elements = Elements(page)
    assert {a.get("scope") for tag, a in elements.tags if tag == "th"} == {"row", "col"}
    assert page.count("<th ") == page.count("<th scope=")
    pictures = [a for tag, a in elements.tags if tag == "div" and a.get("class") in ("page", "column")]
    assert len(pictures) == page.count("<svg")
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    ids = {a["id"] for _, a in elements.tags if "id" in a}
    assert {a["aria-labelledby"] for tag, a in elements.tags if tag == "table"} <= ids


def test_html_figures_take_their_ink_from_the_page(page: str) -> None:
    """So they can be read on a dark ground."""
    svgs = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert all("var(--ink)" in svg for svg in svgs if "<text" in svg or "glyph" in svg or "<use" in svg)
    assert not any("#1b1f24" in svg for svg in svgs)


def chromium(tmp_path: Path, page: str, *arguments: str) -> str:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed here")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'user'}", *arguments,
        (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("width", [360, 1280])
def test_html_fits_a_telephone_and_a_screen(width: int, page: str, tmp_path: Path) -> None:
    """In a real browser, in a frame of that width: nothing is wider than the screen, and every figure can be read.

    A table that is wider scrolls within itself; the summary, and others of few rows, need no scrolling.
    """
    measure = """<script>addEventListener("load", () => {
      const frame = document.createElement("iframe");
      frame.style.cssText = "border: 0; width: WIDTHpx; height: 800px";
      frame.srcdoc = document.documentElement.outerHTML.replace(/<script>[^]*?<.script>/, "");
      frame.onload = () => {
        const inner = frame.contentDocument;
        const drawn = [...inner.querySelectorAll("figure svg")].filter(svg => svg.getClientRects().length);
        const sizes = drawn.map(svg => {
          const r = svg.getBoundingClientRect(), scale = r.width / svg.viewBox.baseVal.width;
          return [r.left, r.right, r.height, 100 * scale].map(Math.round).join(":");
        });
        const cut = [...inner.querySelectorAll(".stacked")].filter(t => t.scrollWidth > t.clientWidth).length;
        const wide = inner.documentElement.scrollWidth;
        document.title = "wide " + wide + " cut " + cut + " figures " + sizes.join(" ");
        document.body.replaceChildren();
      };
      document.body.appendChild(frame);
    })</script>""".replace("WIDTH", str(width))
    dom = chromium(tmp_path, page.replace("</body>", measure + "</body>"), "--virtual-time-budget=8000", "--dump-dom")
    wide, cut, figures = re.search(r"<title>wide (\d+) cut (\d+) figures ([^<]*)</title>", dom).groups()
    assert (int(wide), int(cut)) == (width, 0)
    sizes = [tuple(map(int, size.split(":"))) for size in figures.split()]
    assert len(sizes) == page.count("<figure")
    assert all(0 <= left < right <= width and height > 20 for left, right, height, _ in sizes)
    assert min(scale for *_, scale in sizes) >= 125  # hundredths of a pixel a point: text of 8 points has 10 pixels


def test_html_takes_its_heat_maps_from_the_page_too(page: str) -> None:
    """An empty cell has no colour of its own, which would glare on a dark page."""
    cells = re.findall(r"fill: #1a6fae[^\"]*", page)
    assert any("fill-opacity: 0.0" in cell or "opacity: 0" in cell for cell in cells)


def test_html_is_dark_where_the_reader_wants_it(page: str, tmp_path: Path) -> None:
    """Screenshots: the ground is light or dark, and ink is there in both."""
    grounds = []
    for scheme in ("light", "dark"):
        picture = tmp_path / f"{scheme}.png"
        force = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
        chromium(tmp_path, page, "--window-size=800,1600", f"--screenshot={picture}", *force)
        with Image.open(picture) as shot:
            grey = shot.convert("L")
        grounds.append(grey.getpixel((5, 5)))
        assert abs(grey.getextrema()[0] - grey.getextrema()[1]) > 180
    light, dark = grounds
    assert light > 240
    assert dark < 40


def test_markdown_has_everything_in_its_order() -> None:
    run = whole_run("one")
    text = to_markdown_page(document([run], "A title"), "figures")
    lines = text.splitlines()
    assert lines[0] == "# A title"
    assert [line for line in lines if line.startswith("##") and not line.startswith("####")] == [
        "## one", "### Findings", "### Curves", "### Results by class",
        "### Augmented training images", "### Weights of the first layer", "### Setup",
    ]  # fmt: skip
    assert "#### Settings" in lines
    first = findings(run)[0]
    assert f"**{first.title}.** {first.text}" in lines
    assert f"_Rule: {first.threshold}._" in lines
    assert "![Line chart of the loss and its parts by epoch](figures/one-loss.png)" in lines
    assert lines[lines.index("![Line chart of the loss and its parts by epoch](figures/one-loss.png)") + 2].startswith(
        "_The total training loss rose from 3.750 to 6.750"
    )


def test_threads_may_draw_at_the_same_time() -> None:
    """And leave no trace: neither settings of matplotlib nor a figure of pyplot's."""
    before = dict(matplotlib.rcParams)
    plots = [block for block in document([whole_run()], "T").blocks if isinstance(block, Plot)]
    content = Document("T", (plots[0], plots[4], plots[-1]))
    alone = to_html_page(content)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(to_html_page, [content] * 4))
    assert set(together) == {alone}
    assert dict(matplotlib.rcParams) == before
