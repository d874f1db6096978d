"""A run that begins from a checkpoint of another library: its heads come along, and the first loss is the library's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from audio_ssl.artifacts.run_beginning import RunBeginning
from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.init import Init
from audio_ssl.pretrain.init_weights import begin_learner, begin_model, open_source
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.teachers import kmeans
from tests.interop import test_pretrained, test_spidr
from tests.parity import test_hubert, test_mert, test_wav2vec2
from tests.parity.learner import learner, run
from tests.reference import LOSS, difference, golden


def begun(module: Any, name: str, config: Any) -> RunBeginning:
    """Let a learner begin from a model, as a run does."""
    source = open_source(Init(name))
    begin_model(source, module.model)
    return begin_learner(source, config, module, module._heads, [])


def hubert(path: str | None = "km.safetensors") -> Any:
    """Return the second iteration of HuBERT, its labels of a code book that is given by its path."""
    config: Any = load_recipe("hubert_base", test_hubert.SMALL)
    return dataclasses.replace(config, teachers=(kmeans.Config(path=path, clusters=12),), iterations=())


@pytest.mark.parametrize("name", ["hubert", "hubert_pre_norm"])
def test_a_hubert_of_fairseq_has_its_loss_at_update_0(tmp_path: Path, name: str) -> None:
    theirs = golden(name)
    module = test_hubert.small(*(test_hubert.LARGE if name == "hubert_pre_norm" else ()))
    found = begun(module, str(test_pretrained.saved(tmp_path / "a.pt", theirs)), hubert())
    assert found.taken == ("frontend and encoder of 2 layers", "head kmeans")
    assert found.fresh == ()
    ours = test_hubert.ran(module, theirs).output
    assert difference(ours.loss_sum, theirs["loss_sum"]) < LOSS
    # Masked accuracy by the weights of the file alone.
    mask, weights = theirs["input/mask"].bool(), theirs.weights
    projection = (weights["final_proj.weight"], weights["final_proj.bias"])
    logits = test_pretrained.cosines(theirs["encoder_output"][mask], projection, weights["label_embs_concat"])
    correct = logits.argmax(-1) == theirs["input/codes"][mask]
    assert ours.metrics["accuracy_0"][0] == correct.sum()
    assert correct.sum() > 0


def test_symbols_of_dictionaries_are_left_out(tmp_path: Path) -> None:
    theirs = golden("hubert")
    more = torch.cat([torch.randn(4, 16), theirs.weights["label_embs_concat"]])
    dictionary = [{"symbols": ["<s>", "<pad>", "</s>", "<unk>", *test_pretrained.NUMBERS]}]
    changes = {
        "model": {**theirs.weights, "label_embs_concat": more},
        "task_state": {"dictionaries": dictionary},
    }
    module = test_hubert.small()
    assert begun(module, str(test_pretrained.saved(tmp_path / "a.pt", theirs, **changes)), hubert()).fresh == ()
    assert torch.equal(module.heads[0].codes[0], theirs.weights["label_embs_concat"])


def test_labels_that_are_fitted_to_the_audio_are_not_those_of_the_file(tmp_path: Path) -> None:
    module = test_hubert.small()
    before = module.heads[0].codes.clone()
    found = begun(module, str(test_pretrained.saved(tmp_path / "a.pt", golden("hubert"))), hubert(path=None))
    (fresh,) = found.fresh
    assert fresh.startswith(
        "head kmeans (the kmeans teacher is fitted to this run's audio, so its labels are not those"
    )
    assert fresh.endswith("name the code book that these were made with as teachers.0.path)")
    assert torch.equal(module.heads[0].codes, before)


def test_a_head_of_another_temperature_begins_fresh(tmp_path: Path) -> None:
    path = str(test_pretrained.saved(tmp_path / "a.pt", golden("hubert")))
    config = hubert()
    objective = dataclasses.replace(config.objectives[0], temperature=0.2)
    found = begun(test_hubert.small(), path, dataclasses.replace(config, objectives=(objective,)))
    assert found.fresh == ("head kmeans (its `temperature` is 0.2, that of the file's head 0.1)",)


def test_a_broken_head_is_an_error_unless_heads_are_not_wanted(tmp_path: Path) -> None:
    theirs = golden("hubert")
    broken = {**theirs.weights, "final_proj.weight": torch.zeros(16, 31)}
    path = str(test_pretrained.saved(tmp_path / "a.pt", theirs, model=broken))
    with pytest.raises(UserError, match=r"`final_proj\.weight` must have the shape"):
        open_source(Init(path))
    assert open_source(Init(path, heads=False)).found.codes == ()


def test_a_store_of_targets_has_the_labels_of_its_own_teachers(tmp_path: Path) -> None:
    config = hubert(path=None)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, targets="store"))
    assert (
        begun(test_hubert.small(), str(test_pretrained.saved(tmp_path / "a.pt", golden("hubert"))), config).fresh == ()
    )


def test_a_file_of_torchaudio_has_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    peer: Any = test_hubert.torchaudio_model(False, golden("hubert")["input/mask"].bool())
    save_file({name: value.contiguous() for name, value in peer.state_dict().items()}, tmp_path / "a.safetensors")
    module = test_hubert.small()
    name = f"{tmp_path / 'a.safetensors'}?normalize=false&sample_rate=16000&heads=4"
    assert begun(module, name, hubert()).taken == ("frontend and encoder of 2 layers", "head kmeans")
    assert torch.equal(module.heads[0].codes[0], peer.logit_generator.label_embeddings)


def test_a_mert_of_fairseq_has_its_loss_at_update_0(tmp_path: Path) -> None:
    theirs, module = golden("mert"), test_mert.small("mert_95m")
    path = test_pretrained.saved(tmp_path / "a.pt", theirs)
    found = begun(module, str(path), load_recipe("mert_95m", test_mert.SMALL))
    assert found.taken == ("frontend and encoder of 2 layers", "head encodec", "head cqt")
    waveform = theirs["input/waveform"]
    targets = (theirs["input/codes"].long(), test_mert.cqt("mert_95m", waveform))
    ours = run(module, waveform, theirs["input/mask"].bool(), targets)
    assert difference(ours.output.loss_sum, theirs["loss_sum"]) < LOSS


def test_a_wav2vec2_of_fairseq_has_its_quantiser(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs, settings = golden("wav2vec2"), [*test_wav2vec2.SMALL, *test_wav2vec2.CODES]
    module = learner("wav2vec2_base", settings)
    config: Any = load_recipe("wav2vec2_base", settings)
    found = begun(module, str(test_pretrained.saved(tmp_path / "a.pt", theirs)), config)
    assert found.taken == ("frontend and encoder of 2 layers", "head contrastive")
    assert (
        "had fallen to 1.88, but begins at 2; to go on from there, give the objective `gumbel_start: 1.88`"
        in caplog.text
    )
    head: Any = module.heads[0]
    assert torch.equal(head.quantizer.vectors.flatten(0, 1), theirs.weights["quantizer.vars"][0])
    objective = dataclasses.replace(config.objectives[0], temperature=0.3)
    found = begun(module, str(tmp_path / "a.pt"), dataclasses.replace(config, objectives=(objective,)))
    assert found.fresh == ("head contrastive (its `temperature` is 0.3, that of the file's head 0.1)",)


def test_a_data2vec_of_fairseq_has_its_teacher(tmp_path: Path) -> None:
    theirs = golden("data2vec")
    path = str(test_pretrained.saved(tmp_path / "a.pt", theirs))
    config: Any = load_recipe("data2vec_base", [*test_hubert.SMALL[:-1], "teachers.0.layers=2"])
    source = open_source(Init(path))
    config = dataclasses.replace(config, frontend=source.model.config.frontend, encoder=source.model.config.encoder)
    model = source.model
    online = masked_prediction.build_online(config, model)
    heads = masked_prediction.build_heads(config, model, [online[0].spec])
    module = masked_prediction.build_learner(config, model, heads, online)
    found = begin_learner(source, config, module, heads, [])
    assert found.taken == ("frontend and encoder of 3 layers", "teacher 0", "head ema")
    query: Any = module.online["0"].get_submodule("model.encoder.blocks.1.query")
    assert torch.equal(query.weight, theirs["teacher/layers.1.self_attn.q_proj.weight"])


@pytest.mark.parametrize("name", test_spidr.RECIPES)
def test_a_spidr_or_dinosr_has_its_codebooks_and_its_loss(tmp_path: Path, name: str) -> None:
    recipe = test_spidr.RECIPES[name]
    module, config = learner(recipe, test_spidr.SMALL), load_recipe(recipe, test_spidr.SMALL)
    found = begun(module, test_spidr.saved(tmp_path, name), config)
    assert found.taken == ("frontend and encoder of 3 layers", "teacher 0", "head online_clustering")
    theirs = golden(name)
    ours = run(module, theirs["input/waveform"], theirs["input/mask"].bool(), ())
    assert difference(ours.output.loss_sum, theirs["loss_sum"]) < LOSS
