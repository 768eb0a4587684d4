"""The report's page: tables, pictures and text, put into one HTML file that needs nothing else."""

import base64
import io
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from figures.style import DPI
from measures.intervals import Interval
from measures.names import LOWER_IS_BETTER, METRICS, PROBLEM_METRICS

TEMPLATES = Path(__file__).parent / "templates"
# whether lower or higher is better, for each column
HINTS = {
    metric.replace("_", " "): "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    for metric in (*METRICS, *PROBLEM_METRICS, "loss")
}
# what the intervals of runs do not say: how much other seeds would change
INTERVALS = "95 % intervals (of one training each, on other images)"
# a larger drawing is shown as pixels
SVG_LIMIT = 400_000
# pixels of a page in an inch
PAGE_DPI = 96


@dataclass(frozen=True)
class TableCell:
    """One cell of a table.

    Args:
        text: what it shows
        sort: what it is sorted by; None sorts it last
        small: shown below, such as an interval
        link: where its text leads to
        style: best, warn or nothing
    """

    text: str
    sort: float | str | None = None
    small: str = ""
    link: str = ""
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by its columns.

    Args:
        caption: what it shows
        columns: their names
        rows: cells, as many as columns
        numeric: which columns are aligned to the right
        sorted_by: number of the column by which it is sorted at first, if by any
        falling: whether that column is sorted from high to low
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    numeric: Sequence[bool]
    sorted_by: int | None = None
    falling: bool = True


@dataclass(frozen=True)
class Picture:
    """A figure, drawn.

    Args:
        name: of its files
        caption: what it shows
        alt: the same for those who do not see it, with its main numbers
        png: its pixels
        svg: its lines
    """

    name: str
    caption: str
    alt: str
    png: bytes
    svg: bytes

    @property
    def width(self) -> int:
        """The width in a page's pixels at which its words are as large as the page's."""
        # where a PNG says its width
        return round(int.from_bytes(self.png[16:20], "big") / DPI * PAGE_DPI)

    @property
    def source(self) -> str:
        """The picture itself as the address of an image."""
        kind, content = ("svg+xml", self.svg) if len(self.svg) <= SVG_LIMIT else ("png", self.png)
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: plain text
        style: warn, or nothing
    """

    text: str
    style: str = ""


@dataclass
class Part:
    """What can be folded away: text, tables and pictures under a heading of their own.

    Args:
        title: its heading
        anchor: its address in the page
        blocks: what it shows, in order
        is_open: whether it is shown at first
    """

    title: str
    anchor: str
    blocks: list[Text | Table | Picture] = field(default_factory=list)
    is_open: bool = True

    def say(self, text: str, style: str = "") -> None:
        """Add a paragraph."""
        self.blocks.append(Text(text, style))


@dataclass
class Section:
    """A part of the page that has a line in its list of contents.

    Args:
        title: its heading
        anchor: its address in the page
        blocks: what it shows first, in order
        parts: what can be folded away, below
    """

    title: str
    anchor: str
    blocks: list[Text | Table | Picture] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def say(self, text: str, style: str = "") -> None:
        """Add a paragraph."""
        self.blocks.append(Text(text, style))

    def part(self, title: str, is_open: bool = True) -> Part:
        """Add a part; one that stays empty is not shown."""
        self.parts.append(Part(title, f"{self.anchor}-{len(self.parts) + 1}", is_open=is_open))
        return self.parts[-1]

    @property
    def shown_parts(self) -> list[Part]:
        """The parts that hold something."""
        return [part for part in self.parts if part.blocks]

    @property
    def all_blocks(self) -> list[Text | Table | Picture]:
        """Everything in it, in order."""
        return [*self.blocks, *(block for part in self.parts for block in part.blocks)]


@dataclass(frozen=True)
class Verdict:
    """What was compared and what won, for the first screen.

    Args:
        title: what was compared
        anchor: of the section that shows it
        winner: the best run
        numbers: its metrics in words
        text: what else is to be known
    """

    title: str
    anchor: str
    winner: str
    numbers: str
    text: str


def drawn(name: str, caption: str, alt: str, figure: Figure) -> Picture:
    """Draw a figure as pixels and as lines.

    Args:
        name: of its files
        caption: what it shows
        alt: the same in words
        figure: to draw
    """
    png, svg = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # a name in letters that the font has not got is drawn as boxes; the tables have it
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(png, format="png", dpi=DPI)
        # laid out once is enough
        figure.set_layout_engine("none")
        # the same figure gives the same file
        with mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, caption, alt, png.getvalue(), svg.getvalue())


def render(title: str, summary: Sequence[Text], sections: Sequence[Section], verdicts: Sequence[Verdict] = ()) -> str:
    """Put the page together; all text is escaped.

    Args:
        title: of the page
        summary: what stands above all
        sections: in order
        verdicts: what won, for the first screen
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["breakable"] = breakable
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["picture"] = lambda block: isinstance(block, Picture)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    template = environment.get_template("report.html.j2")
    return template.render(title=title, summary=summary, sections=sections, verdicts=verdicts, made=made, hints=HINTS)


def breakable(text: str) -> Markup:
    """Escape a text, and let lines end after the signs that join the words of a name.

    Args:
        text: plain text

    Example:
        >>> print(breakable("a<b/c_d"))
        a&lt;b/<wbr>c_<wbr>d
    """
    return Markup("<wbr>").join(re.findall(r".*?(?:[_/-]+(?=\w)|[.](?=[a-z_]))|.+", text, re.S))


def number_cell(value: float | int | None, text: str | None = None) -> TableCell:
    """Show a number, or a dash where there is none.

    Args:
        value: the number
        text: how it is written; a count by default
    """
    if value is None:
        return TableCell("–")
    return TableCell(f"{value:,}" if text is None else text, float(value))


def interval_cell(interval: Interval | None, best: float | None = None, signed: bool = False) -> TableCell:
    """Show a value and its interval below.

    Args:
        interval: the value and its ends; None where they are not known
        best: the best value of its column
        signed: write a plus before what is above 0
    """
    value = (interval or {}).get("value")
    if interval is None or value is None:
        return TableCell("–")
    sign = "+" if signed else ""
    low, high = interval["low"], interval["high"]
    small = f"{low:{sign}.4f} to {high:{sign}.4f}" if low is not None and high is not None else ""
    return TableCell(f"{value:{sign}.4f}", value, small, style="best" if value == best else "")


def link_to(path: Path, page: Path) -> str:
    """Return the address of a file as seen from the page's folder.

    Args:
        path: of the file
        page: folder of the page
    """
    try:
        return quote(Path(os.path.relpath(path.resolve(), page.resolve())).as_posix())
    except ValueError:
        # the page is on another drive
        return path.resolve().as_uri()
