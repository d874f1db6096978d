"""The folder of sections is the registry of pages; a new one is one file (CONTRIBUTING, "A new report section")."""

import sys
from collections import Counter

import pytest

from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.report import sections
from audio_ssl.report.build import build_fairness_report, build_report
from audio_ssl.report.pages import placed_sections, sections_of
from tests.report.fairness_example import whole_audit

NEW = '''"""How many clips of each system were heard by fewer than ten people."""

from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.report.html import Block, Section, TableColumn, tabulate
from audio_ssl.report.numbers import number
from audio_ssl.report.pages import PlacedSection, ReportPage

COLUMNS = [TableColumn("System", lambda row: row.name), TableColumn("Clips", lambda row: number(row.clips))]


def listeners_section(report):
    table = tabulate("Clips and listeners", report.results, COLUMNS)
    return Section("listeners", "Who listened", (Block(id="listeners-table", tables=(table,)),))


def never(page):
    return None


SECTIONS = (PlacedSection(FairnessReport, 35, listeners_section), PlacedSection(ReportPage, 35, never))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give an empty folder whose files are sections beside those of the package."""
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(f"{sections.__name__}.{file.stem}", None)


def test_a_new_section_is_one_file(folder, tmp_path, fairness_file):
    before = [one.id for one in sections_of(whole_audit())]
    (folder / "listeners.py").write_text(NEW, encoding="utf-8")
    after = [one.id for one in sections_of(whole_audit())]
    place = before.index("overview") + 1
    assert after == [*before[:place], "listeners", *before[place:]]
    build_fairness_report(whole_audit(), tmp_path / "page.html")
    html, markdown = ((tmp_path / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    assert 'href="#listeners"' in html
    assert "## Who listened" in markdown
    # A section is on the page that it names, and where it has nothing to show it is on none.
    build_report([fairness_file], tmp_path / "report.html")
    assert "listeners" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_file_that_does_not_say_where_it_stands_is_an_error(folder):
    (folder / "lost.py").write_text("SECTION = ()\n", encoding="utf-8")
    with pytest.raises(AttributeError, match="SECTIONS"):
        sections_of(whole_audit())


def test_every_section_has_a_place_of_its_own():
    places = Counter((one.page, one.place) for one in placed_sections())
    assert FairnessReport in {page for page, _ in places}
    assert {place: many for place, many in places.items() if many > 1} == {}
