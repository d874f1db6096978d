"""Tables of predictions that come with the package: whole, described, and audited by name alone."""

import json

import pytest

from audio_ssl import __main__, examples
from audio_ssl.commands.explain import listing_lines
from audio_ssl.fairness.about import About, with_example
from audio_ssl.metrics.texts import get_normaliser


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    page = tmp_path_factory.mktemp("audit") / "fairness.html"
    assert __main__.run(["fairness", "whisper_tiny_en", "--replicates", "200", "--out", str(page)]) == 0
    return json.loads(page.with_suffix(".json").read_text())


def test_the_name_alone_audits_ten_readers(audited):
    groups = {(row["metric"], row["group"]): row for row in audited["groups"]}
    assert {key[1] for key in groups} == {"F", "M"}
    assert all(row["speakers"] == 5 for row in groups.values())
    # Recognised well, and compared by the card's normaliser: as written, nearly every word would be wrong.
    assert groups["wer", "F"]["value"] == pytest.approx(12.46, abs=0.01)
    assert groups["wer", "M"]["value"] == pytest.approx(16.17, abs=0.01)


def test_the_page_states_what_the_card_says(audited):
    card = examples.read_example("whisper_tiny_en")
    (result,) = audited["results"]
    assert result["system"] == card.system
    assert result["version"] == card.version
    assert audited["statement"]["test_set"] == card.test_set


def test_what_the_user_says_comes_before_the_card(tmp_path):
    name = examples.names()[0]
    paths, asked = with_example([tmp_path / "x" / ".." / "y.csv"], About(), None)
    assert (paths, asked.normaliser) == ([tmp_path / "x" / ".." / "y.csv"], "none")
    _, asked = with_example([type(tmp_path)(name)], About(("own",), (), "mine"), "basic")
    assert (asked.about.systems, asked.about.test_set, asked.normaliser) == (("own",), "mine", "basic")


def test_a_file_of_the_same_name_comes_before_an_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = type(tmp_path)(examples.names()[0])
    assert examples.find([path]) == {path: path.name}
    path.mkdir()
    assert examples.find([path]) == {}


def test_beside_other_results_an_example_is_only_a_table(tmp_path):
    name = examples.names()[0]
    paths, asked = with_example([type(tmp_path)(name), tmp_path], About(), None)
    assert paths == [examples.table(name), tmp_path]
    assert asked.about == About()
    assert asked.normaliser == "none"


@pytest.mark.parametrize("name", examples.names())
def test_an_example_has_a_card_with_licence_and_holds_no_paths(name):
    text = examples.table(name).with_suffix(".md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert f"audio-ssl fairness {name}" in text
    get_normaliser(examples.read_example(name).normaliser)
    rows = [json.loads(line) for line in examples.table(name).read_text(encoding="utf-8").splitlines()]
    assert {"id", "speaker", "gender", "reference", "hypothesis"} <= rows[0].keys()
    assert not any("path" in row for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_the_listing_names_them():
    assert any("whisper_tiny_en" in line for line in listing_lines("examples"))
    assert "examples" in listing_lines("all")


def test_a_name_that_is_none_leads_to_those_that_are(tmp_path, capsys):
    assert __main__.run(["fairness", "whisper_tiny", "--out", str(tmp_path / "x.html")]) == 2
    assert "or an example (whisper_tiny_en)" in capsys.readouterr().err
