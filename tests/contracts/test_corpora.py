"""Every corpus file has the same parts in the same order, a full card, and says what it expected where."""

import ast
import re

import pytest

from audio_ssl.base import catalog
from audio_ssl.data.corpus import UserError, load_corpus

NAMES = catalog.names("corpora")
ALLOWED = ("audio_ssl.data.corpus", "audio_ssl.data.manifest")
IDENTIFIER = re.compile(r"^[a-z]{2,3}$")


def source(name):
    return catalog.find("corpora", name).read_text(encoding="utf-8")


def test_the_folder_is_the_registry():
    assert len(NAMES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_in_order(name):
    tree = ast.parse(source(name))
    parts = ["docstring"] if ast.get_docstring(tree) else []
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CORPUS":
            parts.append("CORPUS")
        elif isinstance(node, ast.FunctionDef):
            parts.append(node.name if node.name in ("read", "fetch") else "helpers")
    assert parts[:3] == ["docstring", "CORPUS", "read"]
    assert "fetch" not in parts[4:]
    assert "Layout below the root" in ast.get_docstring(tree)


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_only_two_modules_of_the_package(name):
    modules = []
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, ast.ImportFrom):
            modules.append(node.module)
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    assert [m for m in modules if m.startswith("audio_ssl") and m not in ALLOWED] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_full(name):
    card = load_corpus(name).card
    assert card.name == name
    for field in ("title", "description", "licence", "citation", "size", "layout"):
        assert getattr(card, field).strip(), field
    assert len(card.description) > 60
    assert all(text.strip() for text in card.splits.values())
    assert all(IDENTIFIER.match(language) for language in card.languages)
    assert card.labels
    assert all(r == "apt" or r.startswith("pip:") for r in card.requires)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_spoken_or_fetched_is_described(name):
    corpus = load_corpus(name)
    if "text" in corpus.card.labels:
        assert corpus.card.languages
    # By this, errors know whether to name `--fetch`.
    assert (corpus.fetch is not None) == (corpus.card.made or "apt" in corpus.card.requires)
    if corpus.fetch is not None:
        assert corpus.card.requires
        assert re.search(r"\d+ clips|\d+ spans", corpus.card.size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("there", [True, False])
def test_a_wrong_root_is_explained(name, there, tmp_path):
    root = tmp_path / "elsewhere"
    if there:
        root.mkdir()
    corpus = load_corpus(name)
    if name == "folder" and there:
        assert list(corpus.read(root, None)) == []
        return
    with pytest.raises(UserError) as error:
        list(corpus.read(root, None))
    assert str(root) in error.value.where
    assert corpus.card.title in error.value.what
    assert error.value.remedy


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_split_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="unknown split `tset`"):
        list(load_corpus(name).read(tmp_path, "tset"))
