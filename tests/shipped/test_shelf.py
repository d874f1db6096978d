"""Shipped models by name: what a name means, what a folder of the name does, and files that are not those shipped."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import audio_ssl
from audio_ssl.base.checksums import write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.commands.app import app
from audio_ssl.commands.check import check
from audio_ssl.commands.explain import listing_lines
from audio_ssl.interop.export import origin_of
from audio_ssl.interop.read import ACCEPTED, ModelKind, detect, read_model
from audio_ssl.interop.write import export
from audio_ssl.models.model import SSLModel, build_model, fingerprint
from audio_ssl.shipped import SHIPPED, Shelf


def test_a_name_means_the_model_that_ships(shelf, run):
    assert shelf.names() == ["toy"]
    found = read_model("toy", shelf=shelf)
    assert fingerprint(found) == fingerprint(read_model("shipped:toy", shelf=shelf)) == shelf.facts("toy").fingerprint
    assert read_model("toy?normalize=true", shelf=shelf).config.normalize
    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = SSLModel.from_pretrained(run)(waveform).hidden[-1]
        error = (found(waveform).hidden[-1] - expected).norm() / expected.norm()
    assert 0 < error < 1e-3


def test_names_that_are_near_and_names_that_are_not(shelf):
    with pytest.raises(UserError, match=r"there is no model `toi`.*did you mean `toy`"):
        read_model("toi", shelf=shelf)
    with pytest.raises(UserError, match=r"there is no model `something`") as caught:
        read_model("something", shelf=shelf)
    assert caught.value.remedy == ACCEPTED
    with pytest.raises(UserError, match=r"unknown shipped model `toi`; known: toy \(did you mean `toy`"):
        read_model("shipped:toi", shelf=shelf)
    # A path is never a name.
    for path in (Path("toy"), "./toy", "toy/"):
        with pytest.raises(UserError, match="there is no model"):
            read_model(path, shelf=shelf)


def test_a_folder_that_holds_a_model_wins_and_the_log_says_so(shelf, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    own = build_model(read_model("toy", shelf=shelf).config, torch.Generator().manual_seed(7))
    own.save_pretrained("toy")
    for name in ("toy", "./toy", "toy/"):
        assert fingerprint(read_model(name, shelf=shelf)) == fingerprint(own), name
    assert caplog.messages == ["`toy` is the folder here; the model that ships is shipped:toy"]
    assert fingerprint(read_model("shipped:toy", shelf=shelf)) == shelf.facts("toy").fingerprint


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("notes")])
def test_what_holds_no_model_does_not_stand_in_the_way(shelf, tmp_path, monkeypatch, caplog, make):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "toy")
    assert detect("toy", shelf) is ModelKind.SHIPPED
    assert caplog.messages == ["`toy` is not a model here; using the model that ships"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def rename(path):
    path.rename(path.with_name("other.safetensors"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "has other bytes than were written: SHA-256 [0-9a-f]{16}… where [0-9a-f]{16}… was recorded"),
        (cut, r"has [\d,]+ bytes where [\d,]+ were written"),
        (rename, "is missing"),
        (lambda path: path.write_bytes(b""), "has 0 bytes where"),
    ],
)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "facts.json"])
def test_a_file_that_is_not_the_one_that_was_shipped(shelf, damage, message, file):
    damage(shelf.root / "toy" / file)
    with pytest.raises(UserError, match=f"{file} of the shipped model `toy` {message}") as caught:
        read_model("toy", shelf=shelf)
    assert str(shelf.root / "toy") in str(caught.value)
    assert caught.value.remedy == ("install the package again: pip install --force-reinstall --no-deps audio-ssl")


def test_weights_of_another_model_with_a_record_of_their_own(shelf, run):
    """Whoever swaps the weights and their record has made another model, but not one without a hash."""
    folder = shelf.root / "toy"
    (folder / "files.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(UserError, match=r"files.json has no hash of config.json, model.safetensors, facts.json"):
        read_model("toy", shelf=shelf)
    write_seals(folder, ["config.json", "model.safetensors"])
    with pytest.raises(UserError, match=r"files.json has no hash of facts.json"):
        read_model("toy", shelf=shelf)


def test_a_folder_that_was_renamed(shelf):
    (shelf.root / "toy").rename(shelf.root / "small")
    with pytest.raises(UserError, match="the folder of the shipped model `toy` has been renamed to `small`"):
        read_model("small", shelf=shelf)


def test_in_a_checkout_git_brings_it_back(shelf, tmp_path):
    (tmp_path / ".git").mkdir()
    cut(shelf.root / "toy" / "config.json")
    # A repository of the user's own, with the installation somewhere in it, has no such file.
    for below, remedy in (("lib/site-packages/audio_ssl", "pip install"), ("audio_ssl", f"git -C {tmp_path} checkout")):
        folder = tmp_path / below / "shipped"
        shutil.copytree(shelf.root, folder)
        with pytest.raises(UserError) as caught:
            read_model("toy", shelf=Shelf(folder))
        assert remedy in str(caught.value.remedy)


def test_check_names_the_same_remedy(shelf):
    flip(shelf.root / "toy" / "model.safetensors")
    (found,) = check([shelf.root / "toy"])
    assert list(found.damaged) == ["model.safetensors"]
    assert found.mend == shelf.mend("toy")


def test_the_listing_says_what_ships(shelf, tmp_path):
    title, first, second = listing_lines("models", shelf)
    assert (title, first) == ("models", "  toy  A stand-in that knows nothing.")
    assert "0.0 MB; 2 layers of 16, 50 frames/s, 16000 Hz; weights: Apache-2.0; card: " in second
    assert Path(second.partition("card: ")[2]).is_file()
    flip(shelf.root / "toy" / "facts.json")
    assert any("damaged" in line for line in listing_lines("models", shelf))
    assert list(listing_lines("models", Shelf(tmp_path / "none"))) == ["models", "  none ship with this version"]
    assert "models" in list(listing_lines("all", shelf))


def test_the_command_lists_models(capsys):
    app(["list", "models"], exit_on_error=False, print_error=False)
    assert capsys.readouterr().out.splitlines()[0] == "models"


def test_a_mistaken_name_is_told_what_is_known():
    with pytest.raises(UserError, match="`audio-ssl list models`"):
        audio_ssl.load("no_such_model")


def test_only_folders_of_models_are_names(shelf):
    (shelf.root / "__pycache__").mkdir()
    (shelf.root / "facts.py").write_text("")
    assert shelf.names() == ["toy"]
    shutil.rmtree(shelf.root)
    assert shelf.names() == []
    assert set(SHIPPED.names()) == {path.parent.name for path in SHIPPED.root.glob("*/config.json")}


def test_an_exported_shipped_model_keeps_its_licence(shelf, tmp_path):
    origin = origin_of("shipped:toy", shelf)
    assert origin.rows["exported from"] == "toy, which ships with audio_ssl"
    assert origin.licence == origin.rows["licence of the weights"] == "Apache-2.0"
    assert "LibriSpeech" in origin.rows["trained on"]
    assert origin_of("org/name", shelf).rows == {"exported from": "org/name"}
    export(read_model("toy", shelf=shelf), tmp_path / "out", facts=origin.rows, licence=origin.licence)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Licence of the weights: Apache-2.0" in card
    assert "Not stated yet" not in card
