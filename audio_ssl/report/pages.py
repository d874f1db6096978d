"""Which sections a page has: the folder ``report/sections`` is the registry.

Each file of the folder has ``SECTIONS``: on which page its sections stand, in which place, and what they show. A page
is known by the type of what it shows, so a section reads a typed record and not the JSON.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from audio_ssl.report import sections
from audio_ssl.report.html import Section

if TYPE_CHECKING:
    from audio_ssl.report.inputs import Inputs
    from audio_ssl.report.summary import ReportSummary

Told = TypeVar("Told")


@dataclass(frozen=True)
class ReportPage:
    """What the page of ``audio-ssl report`` shows. The pages of audits and studies show one record each."""

    summary: ReportSummary
    """All numbers and sentences of the page; its JSON."""
    inputs: Inputs
    """As read, for what is in the page and not in its JSON, such as audio."""
    audio: bool = True
    """Put the beginnings of clips into the page."""


@dataclass(frozen=True)
class PlacedSection(Generic[Told]):
    """A section, or several in a row, of one page.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Weather:
    ...     rain: bool
    >>> PlacedSection(Weather, 10, lambda page: Section("rain", "Rain") if page.rain else None).made_of(Weather(True))
    (Section(id='rain', heading='Rain', blocks=(), lead=()),)
    """

    page: type[Told]
    """What the page shows."""
    place: int
    """Sections of a page stand in the order of this number, which is their own."""
    show: Callable[[Told], Section | Sequence[Section] | None]
    """Makes the section; None where there is nothing to show."""

    def made_of(self, shown: Told) -> tuple[Section, ...]:
        """Return the sections that there are."""
        made = self.show(shown)
        if made is None:
            return ()
        return (made,) if isinstance(made, Section) else tuple(made)


def sections_of(shown: object) -> tuple[Section, ...]:
    """Return all sections of the page that shows a record, in the order of reading."""
    placed = sorted((one for one in placed_sections() if one.page is type(shown)), key=lambda one: one.place)
    return tuple(section for one in placed for section in one.made_of(shown))


def placed_sections() -> Iterator[PlacedSection[Any]]:
    """Yield the sections of every file of the folder."""
    for found in pkgutil.iter_modules(sections.__path__):
        yield from importlib.import_module(f"{sections.__name__}.{found.name}").SECTIONS
