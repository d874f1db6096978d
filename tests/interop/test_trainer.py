"""Folders as transformers 5 and its Trainer leave them."""

import json
import logging
import shutil

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.interop.read import read_model
from audio_ssl.interop.write import export
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model, fingerprint

SIZES = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_groups=2)
CONFIG = ModelConfig(conv.Config(channels=(8,) * 7), SIZES, 16000, normalize=True)
PREPARATION = {"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}


def model(seed):
    return build_model(CONFIG, torch.Generator().manual_seed(seed))


def checkpoint(out, step):
    """Return a checkpoint of the Trainer: model and optimiser, but no preprocessor."""
    folder = export(model(step), out / f"checkpoint-{step}")
    for name in ("preprocessor_config.json", "README.md"):
        (folder / name).unlink(missing_ok=True)
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "trainer_state.json"):
        (folder / name).write_bytes(b"junk that nobody reads")
    return folder


def processor(folder):
    data = {"feature_extractor": PREPARATION, "processor_class": "Wav2Vec2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(data))


def test_a_processor_holds_what_a_preprocessor_would(tmp_path):
    folder = export(model(0), tmp_path / "m")
    (folder / "preprocessor_config.json").unlink()
    processor(folder)
    assert read_model(folder).config == CONFIG
    # What is given wins, as it does over a preprocessor.
    assert read_model(folder, normalize=False).config.normalize is False


def test_a_processor_of_transformers_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = export(model(0), tmp_path / "m")
    (folder / "preprocessor_config.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "a": 3}))
    tokens = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), pad_token="<pad>", unk_token="<unk>")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=16000)
    transformers.Wav2Vec2Processor(extractor, tokens).save_pretrained(folder)
    assert read_model(folder).config == CONFIG


def test_a_preprocessor_wins_over_a_processor(tmp_path):
    folder = export(model(0), tmp_path / "m")
    data = {"feature_extractor": {**PREPARATION, "do_normalize": False}}
    (folder / "processor_config.json").write_text(json.dumps(data))
    assert read_model(folder).config == CONFIG


def test_a_checkpoint_of_the_trainer(tmp_path):
    folder = checkpoint(tmp_path, 500)
    with pytest.raises(UserError, match=r"checkpoint-500\?normalize=false&sample_rate=16000'"):
        read_model(folder)
    assert read_model(f"{folder}?normalize=true&sample_rate=16000").config == CONFIG
    # The Trainer's output folder has the processor where one was saved there.
    processor(tmp_path)
    assert read_model(folder).config == CONFIG


def test_of_the_trainers_output_folder_the_newest_whole_checkpoint_is_taken(tmp_path, caplog):
    for step in (500, 1000, 1500):
        processor(checkpoint(tmp_path, step))
    (tmp_path / "checkpoint-1500" / "model.safetensors").unlink()
    found = read_model(tmp_path)
    assert fingerprint(found) == fingerprint(read_model(tmp_path / "checkpoint-1000"))
    assert "using the newest complete checkpoint, checkpoint-1000" in caplog.text
    # A model that the Trainer was asked to save at the end is the model.
    shutil.copytree(tmp_path / "checkpoint-500", tmp_path, dirs_exist_ok=True)
    assert fingerprint(read_model(tmp_path)) == fingerprint(read_model(tmp_path / "checkpoint-500"))


def test_checkpoints_without_weights_are_refused(tmp_path):
    (checkpoint(tmp_path, 500) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"none of the checkpoints in `.*` has config.json and weights"):
        read_model(tmp_path)


def test_weights_of_a_checkpoint_are_exact(tmp_path, caplog):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.HubertConfig(**sizes, conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2)
    theirs = transformers.HubertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path / "checkpoint-7")
    with caplog.at_level(logging.INFO):
        ours = read_model(f"{tmp_path}?normalize=false&sample_rate=16000")
    assert "not part of the encoder: classifier, projector" in caplog.text
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.hubert(waveform).last_hidden_state
        torch.testing.assert_close(ours(waveform).hidden[-1], expected, rtol=1e-5, atol=1e-5)
