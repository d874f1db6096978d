import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest

from audio_ssl.artifacts.fairness_report import fairness_of
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.report.build import build_fairness_report, build_report
from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.language.training import title_of
from audio_ssl.report.summary import read_report
from tests.report.meaning import in_order, numbers_in, says_significant

VOID = {"meta", "link", "br", "img", "hr", "input", "col"}


class Reader(HTMLParser):
    """Collects what the structure tests ask about, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.headings: list[int] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.cells: list[int] = []
        self.labelled: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        self.targets += [found[name] for name in ("href", "src") if name in found]
        self.labelled += (found.get("aria-labelledby") or "").split()
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            assert found["role"] == "img"
        if tag == "th":
            assert found["scope"] in ("col", "row", "rowgroup")
        if tag == "tr":
            self.cells.append(0)
        if tag in ("td", "th"):
            self.cells[-1] += int(found.get("colspan", 1))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def text_of(reader: Reader) -> str:
    return " ".join(" ".join(reader.words).replace("\u00a0", " ").split())


@pytest.fixture
def page(tmp_path, run_folder, result_folder, result_maker, fairness_file):
    key = result_maker("demo_key", probe="demo_key", clips=72)
    return build_report([run_folder, result_folder, key, fairness_file], tmp_path / "report.html", title="A & B")


def test_page_is_well_formed_and_accessible(page):
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.headings[0] == 1
    assert reader.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(reader.headings))
    assert set(reader.labelled) <= set(reader.ids)
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption")
    assert reader.tags.count("table") == reader.tags.count("caption")
    assert "script" not in reader.tags


def test_page_loads_nothing(page):
    targets = [target for target in read(page).targets if not target.startswith("#")]
    inside = [target.split(",")[0] for target in targets if target.startswith("data:")]
    assert inside == ["data:application/json;base64"]
    beside = {unquote(target) for target in targets if not target.startswith("data:")}
    assert {Path(target).name for target in beside} == {"report.json", "predictions.parquet"}
    assert all((page.parent / target).is_file() for target in beside)
    source = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in source
    assert re.findall(r"https?://|url\(|@import", source) == []


def test_page_says_what_pretraining_gave(page):
    report = read_report(page)
    said = text_of(read(page))
    for result in report.results:
        for system in result.systems:
            assert f"{system.score_of(result.main_metric).value:.1f} %" in said
    first = report.answer["pretraining"][0]
    assert first in said
    assert says_significant(first)
    assert in_order(first, "untrained twin", "log-mel frames")
    won = sum(all(one.decided and one.better for one in result.verdicts) for result in report.results)
    assert won in numbers_in(first)


def test_page_shows_every_part(page):
    said = text_of(read(page))
    for words in (
        "Accuracy on masked frames, by codebook",
        "CQT error on masked frames",
        title_of("audio_seconds_per_second"),
        "Teacher of run: codec",
        "The ring marks layer 3",
        "Answers for each reference class",
        "Struck out",
        "1 step skipped",
        "3 files could not be used: empty file (2), not an audio file (1)",
        "group F has 1 speaker, and at least 5 a group are needed",
        "6f1ed002ab559585",
        "audio-ssl pretrain demo data.manifest=manifests/pretrain.jsonl --out run",
        "audio-ssl 0.1.0, torch 2.9.1",
    ):
        assert words in said, words


def test_json_beside_the_page_is_strict_and_complete(page):
    def refuse(name):
        raise AssertionError(f"{name} in the JSON")

    report = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert [run["steps"] for run in report["runs"]] == [400]
    assert report["runs"][0]["teachers"][0]["name"] == "codec"
    assert [result["name"] for result in report["results"]] == ["demo_asr", "demo_key"]
    assert [system["system"] for system in report["results"][0]["systems"]] == ["model", "untrained", "logmel"]
    assert report["fairness"][0]["comparisons"][0]["p_value"] is None


def test_embedded_copy_is_the_json(page):
    import base64

    uri = next(target for target in read(page).targets if target.startswith("data:"))
    assert json.loads(base64.b64decode(uri.split(",", 1)[1])) == read_object(page.with_suffix(".json"))


def test_a_report_is_read_as_it_was_written(page):
    assert to_json(read_report(page)) == read_object(page.with_suffix(".json"))


def test_same_inputs_give_the_same_bytes(tmp_path, run_folder, result_folder, fairness_file):
    inputs = [run_folder, result_folder, fairness_file]
    first = build_report(inputs, tmp_path / "report.html").read_bytes()
    assert build_report(inputs, tmp_path / "report.html").read_bytes() == first


def test_hostile_text_is_escaped(tmp_path, result_maker, hostile_text):
    page = build_report([result_maker("asr", hostile=True)], tmp_path / "r.html", title=hostile_text)
    reader = read(page)
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    assert "i" not in reader.tags
    assert hostile_text in " ".join(reader.words)


def test_two_results_of_one_name_keep_ids_apart(tmp_path, result_maker):
    page = build_report([result_maker("a/demo_asr"), result_maker("b/demo_asr")], tmp_path / "r.html")
    ids = read(page).ids
    assert len(ids) == len(set(ids))


def test_a_run_without_probes_says_so(tmp_path, run_maker):
    page = build_report([run_maker("short", steps=3, codec=False)], tmp_path / "r.html")
    assert "No probe result was given" in text_of(read(page))


def test_a_run_that_has_logged_nothing_yet(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "lo', encoding="utf-8")
    assert "No step is done yet" in text_of(read(build_report([run], tmp_path / "r.html")))


def test_nothing_is_left_behind_but_the_two_files(tmp_path, result_folder):
    build_report([result_folder], tmp_path / "out" / "r.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["r.html", "r.json"]


def test_fairness_page_and_its_json(tmp_path, fairness_maker):
    data = fairness_maker(refused=False)
    page = build_fairness_report(fairness_of(data, "x"), tmp_path / "fair.html")
    said = text_of(read(page))
    written = json.loads((tmp_path / "fair.json").read_text(encoding="utf-8"))
    assert [row["difference"] for row in written["comparisons"]] == [row["difference"] for row in data["comparisons"]]
    assert "Women's word error rate is 13 % higher than men's" in said
    assert "+11.9 %" in said
    assert "fewer than 20 speakers a group" in said
    assert "p = 0.012" in said


def test_fairness_page_refuses_in_plain_words(tmp_path, fairness_maker):
    page = build_fairness_report(fairness_of(fairness_maker(), "x"), tmp_path / "fair.html")
    said = text_of(read(page))
    assert "No comparison was tested, so nothing may be concluded about other speakers" in said
    assert "p = " not in said


def test_summary_lines_hold_the_table_and_the_fairness_sentence(page):
    lines = summary_lines(read_report(page))
    assert lines[0].split()[:2] == ["probe", "score"]
    assert lines[1].startswith("demo_asr")
    assert "WER ↓" in lines[1]
    assert "weighted key score ↑" in lines[2]
    assert any("No comparison was tested" in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_out_must_be_html(tmp_path, result_folder):
    with pytest.raises(UserError, match=r"`out` must end in \.html"):
        build_report([result_folder], tmp_path / "report")


def test_out_must_not_replace_an_input(tmp_path, fairness_file):
    before = fairness_file.read_bytes()
    with pytest.raises(UserError, match="would replace one of the inputs"):
        build_report([fairness_file], tmp_path / "fairness.html")
    assert fairness_file.read_bytes() == before
