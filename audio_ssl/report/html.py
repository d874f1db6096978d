"""The page: what a table, a figure and a section are, and the Jinja templates that write them.

Autoescaping is on for every template; only the figures, whose own builder escapes, enter as markup. The page runs no
script and, by its content security policy, can load nothing from anywhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audio_ssl.base.documents import JsonObject
from audio_ssl.report.language.phrases import more_rows
from audio_ssl.report.numbers import MISSING, hard_spaces

Shown = TypeVar("Shown", contravariant=True)
_Row = TypeVar("_Row")
MOST_ROWS = 200
"""Rows of a table that are written; the others are in the JSON."""
MOST_OPEN = 12
"""Rows of a table that stands open."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption; the first column names the row."""

    caption: str
    head: tuple[str | Markup, ...]
    rows: tuple[tuple[str | Markup, ...], ...]
    text_columns: frozenset[int] = frozenset()
    """Columns beside the first that hold words rather than numbers, and so are set flush left."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""
    sticky: bool = False
    """The first column stays in sight while the others are scrolled."""
    folded: bool = False
    """Stand closed under the caption, to be opened."""


@dataclass(frozen=True)
class TableColumn(Generic[Shown]):
    """One column of `tabulate`: its head, and what it writes of a row."""

    head: str
    cell: Callable[[Shown], str | Markup]
    words: bool = False
    """Holds words rather than numbers, and so is set flush left."""


@dataclass(frozen=True)
class Figure:
    """One picture with its caption and the numbers behind it."""

    id: str
    svg: Markup
    caption: str
    table: Table | None = None
    width: float | None = None
    """Draw at this many pixels (scrolling on a narrow screen) instead of fitting the column."""


@dataclass(frozen=True)
class ClipExample:
    """One clip with its reference and its answer."""

    id: str
    changes: Sequence[tuple[str, str]]
    """Kind (``same``, ``missing``, ``added``, ``only-reference``, ``only-answer``) and words, in order."""
    score: str = ""
    about: str = ""
    which: str = ""
    """``best`` or ``worst`` where clips of both kinds are shown."""
    sound: str = ""
    """A ``data:`` address, or in words why there is none."""
    explained: bool = False
    """What the marks mean is said above another clip."""

    @property
    def marked(self) -> bool:
        """Whether it has marks whose meaning must be said."""
        return not self.explained and any(kind in ("missing", "added") for kind, _ in self.changes)


@dataclass(frozen=True)
class Block:
    """A part of a section: a heading with any of sentences, figures, tables, examples, commands."""

    id: str
    heading: str = ""
    lead: tuple[str | Markup, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    examples: tuple[ClipExample, ...] = ()
    commands: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    points: tuple[str | Markup, ...] = ()
    """Sentences that are set as a list, after those of the lead."""
    beside: bool = False
    """On a wide screen the figures stand left of everything else; so they do where there are folds."""


@dataclass(frozen=True)
class Fold:
    """A part of a block that the reader can open and close; on paper it is always open."""

    summary: str | Markup
    """What there is to see, and what of it must be seen while it is closed."""
    inside: Block
    open: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the page, reachable from its navigation."""

    id: str
    heading: str
    blocks: tuple[Block, ...] = ()
    lead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    answer: Mapping[str, Sequence[str]]
    """The sentences that answer the reader's questions, by subject, before anything else; the first is the headline."""
    sections: tuple[Section, ...]
    about: str
    """What the page was made from, in one line."""
    json_name: str
    data: JsonObject = field(default_factory=dict)
    contents: tuple[tuple[str, str], ...] = ()
    """Where each question is answered: id and name; empty where there are too few to look for."""


def make_environment() -> Environment:
    """Return the Jinja environment of the packaged templates: escaping on, unknown names are errors."""
    return Environment(
        loader=PackageLoader("audio_ssl.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(page: Page) -> str:
    """Write the page as one HTML document that needs no other file."""
    return make_environment().get_template("page.html.jinja").render(page=page, data_uri=data_uri(page.data))


def data_uri(data: JsonObject) -> str:
    """Pack data into a ``data:`` address, so that a page that travels alone still carries its numbers."""
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    return f"data:application/json;base64,{base64.b64encode(packed).decode('ascii')}"


def linked(words: str, href: str | None) -> str | Markup:
    """Make of a number a link to the predictions it was made from; plain where there are none.

    Examples
    --------
    >>> str(linked("34.1", "a b/predictions.parquet"))
    '<a href="a%20b/predictions.parquet">34.1</a>'
    """
    return Markup('<a href="{}">{}</a>').format(quote(href), words) if href else words


def make_table(
    caption: str,
    head: Sequence[str | Markup],
    rows: Sequence[Sequence[str | Markup]],
    text_columns: Sequence[int] = (),
    notes: Sequence[str] = (),
    sticky: bool = False,
    folded: bool = False,
) -> Table:
    """Build a table; every row must have one cell per column."""
    assert all(len(row) == len(head) for row in rows), "a row has another number of cells than the head"
    return Table(caption, tuple(head), tuple(map(tuple, rows)), frozenset(text_columns), tuple(notes), sticky, folded)


def tabulate(
    caption: str,
    rows: Sequence[_Row],
    columns: Sequence[TableColumn[_Row]],
    *,
    notes: Sequence[str] = (),
    sticky: bool = False,
    most: int = MOST_ROWS,
    open_up_to: int | None = None,
) -> Table:
    """Write rows as a table; a column that is a dash in every row is left out.

    Parameters
    ----------
    caption
        Above the table.
    rows
        What is shown, a row each.
    columns
        What is written of a row. The first names it.
    notes
        Sentences below the table.
    sticky
        The first column stays in sight while the others are scrolled.
    most
        Rows that are written. A note counts the others.
    open_up_to
        The table is closed if it has more rows than this; None leaves it open.

    Examples
    --------
    >>> columns = [TableColumn("Name", str), TableColumn("Length", lambda name: str(len(name)))]
    >>> tabulate("Groups", ["women", "men"], [*columns, TableColumn("Nothing", lambda name: MISSING)]).rows
    (('women', '5'), ('men', '3'))
    """
    shown = rows[:most]
    written = [[column.cell(row) for row in shown] for column in columns]
    kept = [place for place, cells in enumerate(written) if place == 0 or any(cell != MISSING for cell in cells)]
    return make_table(
        caption,
        [hard_spaces(columns[place].head) for place in kept],
        list(zip(*(written[place] for place in kept), strict=True)),
        text_columns=[new for new, place in enumerate(kept) if new and columns[place].words],
        notes=([more_rows(len(rows) - most)] if len(rows) > most else []) + list(notes),
        sticky=sticky,
        folded=open_up_to is not None and len(shown) > open_up_to,
    )


def turned(table: Table, corner: str) -> Table:
    """Return a table with its rows as columns, for few rows of many columns; `corner` is the head of the first column.

    Cells of words may break their lines; those of numbers may not. So all columns hold words.
    """
    head = (corner, *(row[0] for row in table.rows))
    rows = tuple(zip(table.head[1:], *(row[1:] for row in table.rows), strict=True))
    return replace(table, head=head, rows=rows, text_columns=frozenset(range(1, len(head))), sticky=False, folded=False)
