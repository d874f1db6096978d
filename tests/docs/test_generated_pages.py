"""Pages that are made of files lose nothing of them, and every name has one."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from audio_ssl.base import catalog
from audio_ssl.data.corpus import load_corpus

DOCS = Path(__file__).parents[2] / "docs"


def load():
    spec = importlib.util.spec_from_file_location("generated_pages", DOCS / "generated_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = load()


@pytest.fixture(scope="module")
def pages():
    return dict(GENERATED.all_pages((DOCS / "tables" / "parity.md").read_text(encoding="utf-8")))


def words(text):
    text = re.sub(r"docs/[\w-]+\.md(#\w+)?", " ", text.replace("\\", ""))
    return set(re.findall(r"[A-Za-z0-9.]{3,}", text))


@pytest.mark.parametrize("folder", ["recipes", "probes", "corpora"])
def test_every_card_has_a_page_that_its_list_leads_to(pages, folder):
    index = pages[f"{folder}/index.md"]
    for name in catalog.names(folder):
        assert f"# `{name}`" in pages[f"{folder}/{name}.md"]
        assert f"[`{name}`]({name}.md)" in index
        assert f"\n{name}\n" in index, "it is not in the sidebar"


@pytest.mark.parametrize("folder", ["recipes", "probes"])
def test_a_page_has_every_word_of_the_header_and_the_settings_as_they_are(pages, folder):
    for name in catalog.names(folder):
        path, page = catalog.find(folder, name), pages[f"{folder}/{name}.md"]
        header = re.sub(r"^Parity .*|^Command ", "", GENERATED.header_of(path), flags=re.MULTILINE)
        assert words(header) <= words(page), name
        block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
        assert yaml.safe_load(block) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_few_mixes_studies_and_suites_stand_below_the_lists(pages):
    for folder, page in (("recipes/mixes", "recipes"), ("recipes/studies", "recipes"), ("probes/suites", "probes")):
        for name in catalog.names(folder):
            text = pages[f"{page}/index.md"].partition(f"### `{name}`")[2].partition("\n### ")[0]
            header = re.sub(r"^Command ", "", GENERATED.header_of(catalog.find(folder, name)), flags=re.MULTILINE)
            assert words(header) <= words(text), name
    assert "Asked on\n: mTEDx" in pages["recipes/index.md"]
    assert "$ audio-ssl study gender_study manifest=POOL.jsonl probes.asr" in pages["recipes/index.md"]
    assert "\n    probes.asr_tuned.manifest=ASR.jsonl" in pages["recipes/index.md"]


def test_a_published_recipe_shows_what_differs_from_its_paper(pages):
    assert "## Beside the paper's code" in pages["recipes/hubert_base.md"]
    assert "<details>" in pages["recipes/hubert_base.md"]
    assert "## Beside the paper's code" not in pages["recipes/hubert_tiny.md"]


def test_the_page_of_a_corpus_has_its_licence_splits_and_layout(pages):
    for name in catalog.names("corpora"):
        card, page = load_corpus(name).card, pages[f"corpora/{name}.md"]
        assert words(card.licence) | words(card.citation) <= words(page), name
        assert all(f"| `{split}` |" in page for split in card.splits)
        assert "Layout below the root" in page


def test_the_page_of_commands_has_each_command_with_its_options(pages):
    page = pages["commands.md"]
    for name in ("pretrain", "extract", "probe", "fairness", "fairness plan"):
        assert f"# `audio-ssl {name}`" in page
    assert "`--replicates INT`" in page
    assert " -m " not in page


def test_names_in_prose_are_no_markup():
    assert GENERATED.prose("a_b *c* [d] <e> `f_g` (docs/lab-notes.md)") == (
        r"a\_b \*c\* \[d\] \<e> `f_g` ([](../../lab-notes.md))"
    )
