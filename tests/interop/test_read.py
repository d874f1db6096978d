"""What a name or path is taken for, and names on the hub, without a hub."""

import json
import types

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from audio_ssl.base.errors import UserError
from audio_ssl.features.load import Model
from audio_ssl.interop.fairseq2 import to_fairseq2_weights, write_fairseq2
from audio_ssl.interop.hub import push_to_hub
from audio_ssl.interop.read import read_model
from audio_ssl.interop.transformers import to_transformers_weights
from audio_ssl.interop.write import export
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model

ENCODER = transformer.Config(layers=1, dim=32, ffn_dim=64, heads=4, position_kernel_frames=16, position_groups=4)
CONFIG = ModelConfig(conv.Config(channels=(16,) * 7), ENCODER, 16000, True)


@pytest.fixture(scope="module")
def model():
    return build_model(CONFIG, torch.Generator().manual_seed(0)).eval()


def same(one, other):
    return one.config == other.config and torch.equal(one.encoder.norm.weight, other.encoder.norm.weight)


def test_our_own_folders(model, tmp_path, caplog):
    model.save_pretrained(tmp_path)
    assert same(read_model(tmp_path), model)
    assert same(read_model(str(tmp_path)), model)
    with caplog.at_level("INFO"):
        assert not read_model(tmp_path, normalize=False).config.normalize
    assert "normalize=False as given; config.json says True" in caplog.text
    assert same(read_model(tmp_path, heads=4), model)
    with pytest.raises(UserError, match="`heads` is part of the model and is 4, but 8 was given"):
        read_model(tmp_path, heads=8)


def test_folders_and_files_of_fairseq2(model, tmp_path):
    write_fairseq2(model, tmp_path / "run")
    assert same(read_model(tmp_path / "run"), model)
    assert same(read_model(tmp_path / "run" / "step_0"), model)
    assert same(read_model(tmp_path / "run" / "step_0" / "model"), model)
    save_file(to_fairseq2_weights(model), tmp_path / "a.safetensors")
    given = {"normalize": True, "sample_rate": 16000, "heads": 4}
    assert torch.equal(read_model(tmp_path / "a.safetensors", **given).encoder.norm.weight, model.encoder.norm.weight)
    with pytest.raises(UserError, match=r"the section `audio_ssl` of model.yaml contain"):
        read_model(tmp_path / "a.safetensors", heads=4)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, model: None, "there is no model `.*a run folder"),
        (lambda path, model: path.mkdir(), "contains no model: config.json is missing"),
        (lambda path, model: path.write_text("hello"), "is not a file of weights"),
    ],
)
def test_what_is_no_model(model, tmp_path, write, message):
    write(tmp_path / "a", model)
    with pytest.raises(UserError, match=message):
        read_model(tmp_path / "a")


def test_files_and_configs_of_nothing_known(model, tmp_path):
    save_file(to_transformers_weights(model), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"weights of transformers, .*give the folder"):
        read_model(tmp_path / "model.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="names of the weights are not those of a supported library"):
        read_model(tmp_path / "model.safetensors")
    for text, message in (("{}", "neither `format_version` nor `model_type`"), ("[]", "object"), ("{", "JSON")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_model(tmp_path)
    with pytest.raises(UserError, match="there is no model `hubert`"):
        read_model("hubert")


class Hub:
    """A hub with one model, that remembers what it was asked for."""

    def __init__(self, folder, model):
        self.folder, self.asked = folder, []
        export(model, folder)

    def snapshot_download(self, repo, revision=None, allow_patterns=None):
        if repo != "org/tones":
            raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nmore")
        self.asked.append((revision, set(allow_patterns)))
        return str(self.folder)


def test_names_on_the_hub(model, tmp_path, monkeypatch):
    hub = Hub(tmp_path / "cache", model)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    assert same(read_model("org/tones"), model)
    assert same(read_model("org/tones@v1.0"), model)
    assert [revision for revision, _ in hub.asked] == [None, "v1.0"]
    patterns = hub.asked[0][1]
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= patterns
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in patterns)
    with pytest.raises(UserError, match=r"`org/none` is not a folder.* downloaded: no connection \(run this once"):
        read_model("org/none")


def test_pickles_are_brought_only_where_there_is_nothing_else(model, tmp_path, monkeypatch):
    hub = Hub(tmp_path / "cache", model)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    (hub.folder / "model.safetensors").unlink()
    torch.save(to_transformers_weights(model), hub.folder / "pytorch_model.bin")
    assert same(read_model("org/tones"), model)
    assert ["pytorch_model.bin" in patterns for _, patterns in hub.asked] == [False, True]


def test_a_folder_wins_over_a_name(model, tmp_path, monkeypatch):
    export(model, tmp_path / "org" / "tones")
    monkeypatch.chdir(tmp_path)
    assert same(read_model("org/tones"), model)


def test_models_are_sent_to_the_hub(model, monkeypatch):
    calls, cards = [], []

    class HfApi:
        def create_repo(self, repo_id, **how):
            calls.append(("create", repo_id, how))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            config = json.loads((folder_path / "config.json").read_text())
            files = sorted(path.name for path in folder_path.iterdir())
            calls.append(("upload", repo_id, config["model_type"], files, commit_message))
            cards.append((folder_path / "README.md").read_text())
            return types.SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    assert push_to_hub(model, "org/tones") == "https://hub/commit"
    assert calls[0] == ("create", "org/tones", {"private": True, "exist_ok": True})
    files = ["README.md", "config.json", "files.json", "model.safetensors", "preprocessor_config.json"]
    assert calls[1] == ("upload", "org/tones", "hubert", files, "Upload model")
    Model(model).push_to_hub("org/tones", private=False, facts={"steps": 4}, licence="MIT")
    assert calls[2] == ("create", "org/tones", {"private": False, "exist_ok": True})
    assert [("MIT" in card, "| steps | 4 |" in card) for card in cards] == [(False, False), (True, True)]
    with pytest.raises(UserError, match="must be of the form org/name, but is `tones`"):
        push_to_hub(model, "tones")

    def refuse(self, *args, **how):
        response = types.SimpleNamespace(headers={}, request=None)
        raise huggingface_hub.errors.HfHubHTTPError("401", response=response)

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match=r"org/tones: the model could not be uploaded: 401 \(log in"):
        push_to_hub(model, "org/tones")


def test_without_the_package(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for use in (lambda: read_model("org/tones"), lambda: push_to_hub(model, "org/tones")):
        with pytest.raises(UserError, match=r"pip install 'audio-ssl\[hub\]'"):
            use()
