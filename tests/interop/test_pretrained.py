"""Heads read from files: put into the objectives, they give the losses and logits of the libraries' own models."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.interop.heads import LinearWeights, Pretrained
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.pretrain.objectives.contrastive import Contrastive, Draws
from audio_ssl.pretrain.objectives.masked_codes import MaskedCodes
from tests.parity import test_hubert, test_mert, test_wav2vec2, test_wavlm
from tests.parity.learner import THEIR_NO_DROPOUT, THEIR_SIZES, learner, run
from tests.reference import LOSS, STATES, Golden, difference, golden

NUMBERS = [str(number) for number in range(12)]


def saved(path: Path, theirs: Golden, **changes: Any) -> Path:
    """Write golden weights as fairseq does; golden dictionaries have no special symbols."""
    about, parts = theirs.about, {"_ema": theirs.under("teacher")} if theirs.under("teacher") else {}
    settings = {"layer_norm_first": False, **about["settings"]}
    sets = [{"symbols": NUMBERS}] * (len(theirs.weights.get("label_embs_concat", [])) // 12)
    content = {
        "cfg": {"task": {"normalize": False, "sample_rate": about["sample_rate"]}, "model": settings},
        "model": {**theirs.weights, **parts},
        "task_state": {"dictionaries": sets} if sets else {},
        "optimizer_history": [{"num_updates": 12345}],
    }
    torch.save(content | changes, path)
    return path


def set_linear(layer: Any, weights: LinearWeights) -> None:
    """Give a linear layer these weights."""
    layer.load_state_dict({"weight": weights.weight, "bias": weights.bias})


def put(found: Pretrained, module: Any) -> Any:
    """Give a learner the model and its heads."""
    module.model.load_state_dict(found.model.state_dict())
    for head in module.heads:
        if isinstance(head, MaskedCodes):
            weights, biases = zip(*((one.projection.weight, one.projection.bias) for one in found.codes), strict=True)
            set_linear(head.projection, LinearWeights(torch.cat(weights), torch.cat(biases)))
            head.codes.data = torch.stack([one.codes for one in found.codes if one.codes is not None])
        elif isinstance(head, Contrastive):
            assert found.contrastive is not None
            set_linear(head.quantizer.choice, found.contrastive.choice)
            set_linear(head.project_context, found.contrastive.project_context)
            set_linear(head.project_codes, found.contrastive.project_codes)
            head.quantizer.vectors.data = found.contrastive.vectors
        else:
            assert found.reconstruction is not None
            set_linear(head.projection, found.reconstruction)
    return module


@pytest.mark.parametrize("name", ["hubert", "hubert_pre_norm", "wavlm"])
def test_code_heads_of_fairseq_have_its_loss(tmp_path: Path, name: str) -> None:
    theirs = golden(name)
    found = read_pretrained(saved(tmp_path / "a.pt", theirs))
    assert [(head.special, head.temperature, head.layer) for head in found.codes] == [(0, 0.1, -1)]
    assert found.left_out == ()
    if name == "wavlm":
        module = put(found, test_wavlm.small("wavlm", 1, test_wavlm.BUCKETS)[0])
    else:
        module = put(found, test_hubert.small(*(test_hubert.LARGE if name == "hubert_pre_norm" else ())))
    assert difference(test_hubert.ran(module, theirs).output.loss_sum, theirs["loss_sum"]) < LOSS


def test_heads_of_mert_have_its_loss(tmp_path: Path) -> None:
    theirs, module = golden("mert"), test_mert.small("mert_95m")
    found = read_pretrained(saved(tmp_path / "a.pt", theirs))
    assert len(found.codes) == 8
    values = test_mert.cqt("mert_95m", theirs["input/waveform"])
    targets = (theirs["input/codes"].long(), values)
    ours = run(put(found, module), theirs["input/waveform"], theirs["input/mask"].bool(), targets)
    assert difference(ours.output.loss_sum, theirs["loss_sum"]) < LOSS


def test_heads_of_a_mert_of_few_codebooks_an_update_are_its_separate_layers(tmp_path: Path) -> None:
    theirs = golden("mert")
    whole = read_pretrained(saved(tmp_path / "a.pt", theirs))
    state = {name: value for name, value in theirs.weights.items() if not name.startswith("final_proj.")}
    for part in ("weight", "bias"):
        rows = theirs.weights[f"final_proj.{part}"].chunk(8)
        state |= {f"final_projs.{index}.{part}": value.clone() for index, value in enumerate(rows)}
    state["logit_temp_list"] = torch.tensor([2.0, 6.0, *[1.0] * 6])
    found = read_pretrained(saved(tmp_path / "b.pt", theirs, model=state))
    for one, other in zip(found.codes, whole.codes, strict=True):
        assert torch.equal(one.projection.weight, other.projection.weight)
        assert torch.equal(one.projection.bias, other.projection.bias)
    # The factor of a learnt temperature is at most 100.
    wanted = [torch.tensor(2.0).exp().reciprocal().item(), 0.01]
    assert [head.temperature for head in found.codes[:2]] == pytest.approx(wanted)


def test_the_quantiser_of_fairseq_has_its_loss(tmp_path: Path) -> None:
    theirs = golden("wav2vec2")
    found = read_pretrained(saved(tmp_path / "a.pt", theirs))
    head = found.contrastive
    assert head is not None
    assert head.gumbel is not None
    assert (head.temperature, head.negatives, head.vectors.shape) == (0.1, 10, (2, 6, 8))
    assert (head.gumbel.start, head.gumbel.end, head.gumbel.decay, head.gumbel.updates) == (2, 0.5, 0.999995, 12345)
    module = put(found, learner("wav2vec2_base", [*test_wav2vec2.SMALL, *test_wav2vec2.CODES]))
    draws = Draws(theirs["input/exponential_noise"].flatten(0, 1), list(theirs["input/negatives"]))
    mask = theirs["input/mask"].bool()
    ours, quantised, _ = test_wav2vec2.spied(module, theirs["input/waveform"], mask, draws, 12345)
    assert torch.equal(quantised.codes, theirs["codes"].flatten(0, 1))
    assert difference(ours.output.loss_sum, theirs["loss_sum"]) < LOSS


def test_data2vec_predicts_what_it_did_and_has_its_average(tmp_path: Path) -> None:
    theirs = golden("data2vec")
    found = read_pretrained(saved(tmp_path / "a.pt", theirs))
    assert found.regression is not None
    assert found.average is not None
    mask = theirs["input/mask"].bool()
    predicted = F.linear(theirs["hidden"][-1][mask], found.regression.weight, found.regression.bias)
    assert difference(predicted, theirs["published/predictions"]) < STATES
    assert len(found.average.weights) == len(theirs.under("teacher"))
    query = found.average.weights["encoder.blocks.1.query.weight"]
    assert torch.equal(query, theirs["teacher/layers.1.self_attn.q_proj.weight"])
    # Of an encoder's own names one is also that of the norm of the features.
    assert torch.equal(found.average.weights["encoder.norm.bias"], theirs["teacher/layer_norm.bias"])
    assert set(found.average.weights) < set(found.model.state_dict())


def cosines(hidden: Tensor, projection: tuple[Tensor, Tensor], codes: Tensor, temperature: float = 0.1) -> Tensor:
    """Return HuBERT's logits as its paper defines them."""
    projected = F.linear(hidden, *projection)
    return torch.cosine_similarity(projected[:, None], codes[None], dim=-1) / temperature


@pytest.mark.parametrize("untied", [True, False])
def test_sets_of_labels_are_told_apart_by_their_dictionaries(tmp_path: Path, untied: bool) -> None:
    theirs = golden("hubert")
    draw = torch.Generator().manual_seed(3)
    weight, bias = (
        torch.randn(shape, generator=draw) for shape in ((32 if untied else 16, 32), (32 if untied else 16,))
    )
    codes, hidden = torch.randn(9 + 7, 16, generator=draw), torch.randn(5, 32, generator=draw)
    glu, glu_bias = torch.randn(32, 16, generator=draw), torch.randn(32, generator=draw)
    heads = {"final_proj.weight": weight, "final_proj.bias": bias, "label_embs_concat": codes}
    heads |= {"target_glu.0.weight": glu, "target_glu.0.bias": glu_bias}
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    # Lists of a dictionary need not be in the order of the numbers.
    symbols = [[*special, "0", "1", "4", "2", "3"], [*special, "a", "b", "c"]]
    path = saved(
        tmp_path / "a.pt",
        theirs,
        model={**theirs.weights, **heads},
        task_state={"dictionaries": [{"symbols": one} for one in symbols]},
        cfg={
            "task": {"normalize": False, "sample_rate": 16000, "labels": ["km", "phn"]},
            "model": {**theirs.about["settings"], "logit_temp": 0.2, "untie_final_proj": untied, "target_glu": True},
        },
    )
    found = read_pretrained(path)
    assert [head.special for head in found.codes] == [4, 4]
    embeddings = F.glu(F.linear(codes, glu, glu_bias), dim=-1)
    for index, (head, rows) in enumerate(zip(found.codes, embeddings.split([9, 7]), strict=True)):
        part = slice(16 * index, 16 * index + 16) if untied else slice(None)
        wanted = cosines(hidden, (weight[part], bias[part]), rows, 0.2)
        assert head.codes is not None
        ours = cosines(hidden, (head.projection.weight, head.projection.bias), head.codes, head.temperature)
        order = [0, 1, 2, 3, 4, 5, 7, 8, 6] if index == 0 else list(range(7))
        assert difference(ours, wanted[:, order]) < STATES


def test_without_a_dictionary_the_four_special_symbols_of_fairseq_come_first(tmp_path: Path) -> None:
    theirs = golden("hubert")
    found = read_pretrained(saved(tmp_path / "a.pt", theirs, task_state={}))
    assert [(head.special, len(head.codes if head.codes is not None else [])) for head in found.codes] == [(4, 12)]


def test_transformers_pretraining_model_has_its_projections(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    sizes = {"codevector_dim": 16, "proj_codevector_dim": 24, "num_codevectors_per_group": 6, "num_negatives": 7}
    config = Wav2Vec2Config(**THEIR_SIZES, **THEIR_NO_DROPOUT, **sizes, contrastive_logits_temperature=0.3)
    theirs = Wav2Vec2ForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 16000}))
    found = read_pretrained(tmp_path)
    head = found.contrastive
    assert head is not None
    assert (head.temperature, head.negatives, head.gumbel, found.left_out) == (0.3, 7, None, ())
    recipe = ["objectives.0.code_dim=16", "objectives.0.codebook_size=6", "objectives.0.final_dim=24"]
    ours = put(found, learner("wav2vec2_base", [*test_wav2vec2.SMALL, *recipe])).eval()
    waveform = golden("wav2vec2")["input/waveform"]
    with torch.no_grad():
        wanted = theirs(waveform)
        hidden = ours.model(waveform).hidden[-1]
        features = ours.model.encoder.feature_norm(ours.model.frontend(waveform, torch.tensor([16000] * 2))[0])
        quantised = ours.heads[0].quantizer(features.flatten(0, 1), 1.0, None).vectors
        codes = ours.heads[0].project_codes(quantised).view(*hidden.shape[:2], -1)
        assert difference(ours.heads[0].project_context(hidden), wanted.projected_states) < STATES
        assert difference(codes, wanted.projected_quantized_states) < STATES


def test_heads_of_a_model_that_was_fine_tuned_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = golden("wav2vec2")
    state = {f"w2v_encoder.w2v_model.{name}": value for name, value in theirs.weights.items()}
    with caplog.at_level(logging.INFO):
        found = read_pretrained(saved(tmp_path / "a.pt", theirs, model=state))
    assert found.contrastive is None
    assert "left out: `final_proj`, `project_q`, `quantizer`: the encoder was fine-tuned since" in caplog.text


def without(state: Mapping[str, Tensor], *starts: str) -> dict[str, Tensor]:
    """Return the weights whose names do not begin so."""
    return {name: value for name, value in state.items() if not name.startswith(starts)}


def test_what_no_objective_computes_is_left_out_with_the_reason(tmp_path: Path) -> None:
    theirs = golden("wav2vec2")
    gated = {**theirs.weights, "target_glu.0.weight": torch.zeros(32, 16), "target_glu.0.bias": torch.zeros(32)}
    deep = without(theirs.weights, "quantizer.weight_proj.") | {"quantizer.weight_proj.1.weight": torch.zeros(12, 16)}
    plain = without(theirs.weights, "quantizer.")
    for state, reason in ((gated, "gated layer"), (deep, "several layers"), (plain, "without quantiser")):
        found = read_pretrained(saved(tmp_path / "a.pt", theirs, model=state))
        assert found.contrastive is None
        assert any(reason in line for line in found.left_out), found.left_out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"project_q.weight": torch.zeros(16, 9)}, "do not make quantised frames of the 9"),
        (
            {"quantizer.weight_proj.weight": torch.zeros(11, 16)},
            r"`quantizer.weight_proj.weight` must have the shape \[12",
        ),
        ({"final_proj.weight": torch.zeros(16, 31)}, "`final_proj.weight` must have the shape"),
    ],
)
def test_a_head_that_does_not_fit_is_an_error(tmp_path: Path, change: dict[str, Tensor], message: str) -> None:
    theirs = golden("wav2vec2")
    with pytest.raises(UserError, match=message):
        read_pretrained(saved(tmp_path / "a.pt", theirs, model={**theirs.weights, **change}))


def test_dictionaries_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    theirs = golden("hubert")
    state = {"dictionaries": [{"symbols": NUMBERS[:-1]}]}
    with pytest.raises(UserError, match="must have a row for each symbol of 1 dictionaries, but has 12"):
        read_pretrained(saved(tmp_path / "a.pt", theirs, task_state=state))


@pytest.mark.parametrize("lightning", [False, True])
def test_torchaudios_pretraining_model_has_its_logits(tmp_path: Path, lightning: bool) -> None:
    theirs = golden("hubert")
    mask, codes = theirs["input/mask"].bool(), theirs["input/codes"].long()
    torch.manual_seed(0)
    peer: Any = test_hubert.torchaudio_model(False, mask)
    path = tmp_path / ("a.ckpt" if lightning else "a.safetensors")
    if lightning:
        # Its example's module keeps the model under a name.
        state = {f"model.{name}": value for name, value in peer.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{}]}, path)
    else:
        save_file({name: value.contiguous() for name, value in peer.state_dict().items()}, path)
    found = read_pretrained(f"{path}?normalize=false&sample_rate=16000&heads=4")
    assert [head.special for head in found.codes] == [0]
    assert found.left_out == ()
    logits, _, penalty = peer(theirs["input/waveform"], codes)
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")
    module = put(found, test_hubert.small())
    ours = test_hubert.ran(module, theirs)
    assert difference(ours.output.loss_sum, loss + 10 * penalty * len(logits)) < LOSS
