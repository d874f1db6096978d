"""Every model that ships with this version: it loads, is what its card says, and computes what was recorded.

Where none ships, these tests are skipped by name, the first line of pytest's report says so, and the documentation is
held to it.
"""

import re
import socket
from pathlib import Path

import pytest
import torch

import audio_ssl
from audio_ssl.base.checksums import read_seals
from audio_ssl.interop.read import read_model
from audio_ssl.models.model import fingerprint
from audio_ssl.release.card import models_table, render
from audio_ssl.release.make import measure
from audio_ssl.shipped import MOST_BYTES, SHIPPED
from tests.shipped.conftest import apart

ROOT = Path(__file__).parents[2]
FOUND = SHIPPED.names()
CHECKED = pytest.mark.parametrize("name", FOUND)
TOLERANCE = 1e-3
"""Of other processors and other versions of torch, relative to the size of a layer."""


@CHECKED
def test_it_loads_without_a_network_and_computes_what_was_recorded(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a shipped model needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model, facts = audio_ssl.load(name), SHIPPED.facts(name)
    assert model.fingerprint == facts.fingerprint
    assert apart(facts.fixed, measure(model.model)) < TOLERANCE
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@CHECKED
def test_its_card_is_that_of_its_facts_and_complete(name):
    facts, folder = SHIPPED.facts(name), SHIPPED.root / name
    assert (folder / "README.md").read_text(encoding="utf-8") == render(facts, read_seals(folder))
    assert facts.command.startswith(("audio-ssl pretrain ", "make "))
    assert facts.scores, "the card of a shipped model has scores"
    assert {row.system for row in facts.scores} > {facts.name}
    assert all(one.name for one in facts.corpora), "audio of unknown licence is not for a shipped model"
    assert facts.cost.heard_hours > 0
    text = (folder / "README.md").read_text() + (folder / "facts.json").read_text()
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)


@CHECKED
def test_it_is_the_same_by_either_name(name):
    assert fingerprint(read_model(f"shipped:{name}")) == fingerprint(read_model(name))


def test_all_together_fit_into_the_wheel():
    sizes = {path: path.stat().st_size for path in SHIPPED.root.glob("*/*") if path.suffix not in (".pyc", ".py")}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_the_documentation_names_these_models_and_no_others():
    assert (ROOT / "docs" / "tables" / "shipped.md").read_text(encoding="utf-8") == models_table(SHIPPED)
    page = (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8")
    assert "{include} tables/shipped.md" in page
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/pretrained.md" in readme
    pairs = re.findall(r'audio_ssl\.load\("(\w+)"\)|audio-ssl extract +\S+ +(small\w*) ', page + readme)
    said = {one for pair in pairs for one in pair if one}
    assert said <= set(FOUND), "a page promises a model that does not ship"
    assert "small" in said or "small" not in FOUND, "the README has to show the model that ships"
