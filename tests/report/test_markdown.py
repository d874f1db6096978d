import pytest
from markdown_it import MarkdownIt

from audio_ssl.artifacts.fairness_report import fairness_of
from audio_ssl.report.html import Table
from audio_ssl.report.language.conclusions import fairness_answer
from audio_ssl.report.markdown import escape, fairness_markdown
from audio_ssl.report.pages import sections_of
from tests.report.conftest import fairness_data
from tests.report.fairness_example import fairness_report, whole_audit


def parse(text):
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)


def inlines(tokens):
    return [child for token in tokens for child in token.children or ()]


@pytest.fixture(scope="module")
def tokens():
    return parse(fairness_markdown(whole_audit()))


def plain(text):
    return " ".join(str(text).replace("\u00a0", " ").split())


def test_tables_hold_what_the_page_holds(tokens):
    cells = []
    for index, token in enumerate(tokens):
        if token.type in ("th_open", "td_open"):
            inline = tokens[index + 1]
            cells.append("".join(child.content for child in inline.children or ()).replace("\u2060", ""))
    wanted = []

    def collect(block):
        for table in block.tables:
            assert isinstance(table, Table)
            for row in (table.head, *table.rows):
                wanted.extend(plain(cell) for cell in row)
        for fold in block.folds:
            collect(fold.inside)

    sections = sections_of(whole_audit())
    for section in [one for one in sections if one.id != "sign-off"]:
        for block in section.blocks:
            collect(block)
    assert len(wanted) > 300
    assert cells == wanted


def test_every_sentence_of_the_answer_is_there():
    text = fairness_markdown(whole_audit())
    for sentences in fairness_answer(whole_audit()).values():
        for sentence in sentences:
            assert escape(sentence) in text


def test_transcripts_are_no_markup(tokens):
    assert not [token for token in tokens if token.type == "html_block"]
    kinds = {child.type for child in inlines(tokens)}
    assert not kinds & {"html_inline", "link_open", "image", "code_inline"}
    said = " ".join(child.content for child in inlines(tokens) if child.type == "text")
    assert '<script>alert("x")</script>' in said
    assert "(http://x) # no heading" in said


@pytest.mark.parametrize(
    "text",
    ["a | b", "# a", "- a", "+ a", "12. a", "3) a", "---", "===", "*a* _b_", "<b>x</b>", "`x`", "[a](b)", "![a](b)",
     "~~a~~", "a\\b", "&amp;", "> a", "| a |", "$x$", "http://a.b www.a.b", "\\", "0.184", "+3 %", "-"],
)  # fmt: skip
def test_escaped_text_reads_as_it_was(text):
    tokens = parse(f"| {escape(text)} | end |\n| - | - |\n\n{escape(text)}\n")
    found = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    assert found == [text, "end", text]
    assert [token.type for token in tokens if token.type.endswith("_open")][-1] == "paragraph_open"


def test_nobody_is_notified_and_lines_stay_one():
    assert "@a" not in escape("@a b@c.de")
    assert "\n" not in escape("a\n\nb\r\nc")


def test_plain_numbers_stay_legible():
    assert escape("0.184") == "0.184"
    assert escape("+14.6 % (−16.0 to +45.2)") == "+14.6 % (−16.0 to +45.2)"


def test_command_cannot_leave_its_fence():
    report = fairness_report()
    report["provenance"]["command"] = "audio-ssl '```\n# x'"
    tokens = parse(fairness_markdown(fairness_of(report, "x")))
    assert [token.content for token in tokens if token.type == "fence"] == ["audio-ssl '```\n# x'\n"]


def test_older_reports_are_written():
    old = fairness_of(fairness_data(refused=False), "old")
    assert "Women's word error rate is 13 % higher" in fairness_markdown(old)
