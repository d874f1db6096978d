"""Opening results: what they hold comes back, and what cannot predict is refused in one line."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from audio_ssl.artifacts.result import read_origin
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest
from audio_ssl.models.model import SSLModel
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.trained import open_result
from tests.probing.toys import ten_people

QUICK = ["optim.steps=2", "optim.eval_every=1"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return ten_people(tmp_path_factory.mktemp("people"), "m.jsonl")


@pytest.fixture(scope="module")
def kept_model(small_model, tmp_path_factory):
    """A model that no other test moves."""
    return shutil.copytree(small_model, tmp_path_factory.mktemp("models") / "kept")


@pytest.fixture(scope="module")
def kept(people, kept_model, tmp_path_factory):
    """Recognition with one baseline beside it."""
    out = tmp_path_factory.mktemp("results") / "asr"
    return run_probe("demo_asr", str(kept_model), out, [f"data.manifest={people}", "baselines=[logmel]", *QUICK])


@pytest.fixture
def result(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "asr")


def test_a_result_comes_back(result, people):
    opened = open_result(result)
    assert opened.task.classes == [" ", "a", "b"]
    assert (opened.layers, opened.pooled, opened.rounded) == ((0, 1, 2), False, True)
    assert str(opened.task.hypothesis(torch.tensor([1, 2, 0, 2, 1]))) == "ab ba"
    # Nothing else is unknown to it.
    assert opened.task.unseen(read_manifest(people)[:1]) == {}
    baseline = open_result(result / "baselines" / "logmel")
    assert (baseline.source.name, baseline.layers) == ("logmel", (0,))


def test_a_model_is_found_from_any_folder(people, kept_model, tmp_path, monkeypatch):
    shutil.copytree(kept_model, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    out = run_probe(
        "demo_asr", "runs/mine", tmp_path / "r", [f"data.manifest={people}", "baselines=[untrained]", *QUICK]
    )
    assert read_origin(out).model_path == str(tmp_path / "runs" / "mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert open_result(out).source.fingerprint == open_result(out, str(kept_model)).source.fingerprint
    twin = out / "baselines" / "untrained"
    assert open_result(twin).source.fingerprint == open_result(twin, str(kept_model)).source.fingerprint
    assert open_result(twin).source.fingerprint != open_result(out).source.fingerprint


def test_a_model_that_is_gone_is_named_with_its_hash(people, kept_model, tmp_path):
    model = shutil.copytree(kept_model, tmp_path / "mine")
    out = run_probe("demo_asr", str(model), tmp_path / "r", [f"data.manifest={people}", "baselines=[]", *QUICK])
    model.rename(tmp_path / "moved")
    fingerprint = read_origin(out).model_fingerprint
    with pytest.raises(UserError, match=rf"is gone: it was {model}, fingerprint {fingerprint} \(--model PATH gives"):
        open_result(out)
    assert open_result(out, str(tmp_path / "moved")).source.fingerprint == fingerprint


def test_another_model_is_refused_with_both_hashes(result, kept_model, tmp_path):
    other = SSLModel.from_pretrained(kept_model)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(tmp_path / "other")
    known = read_origin(result).model_fingerprint
    with pytest.raises(
        UserError, match=rf"`--model` must be the probed model, whose fingerprint is {known}, but .* has "
    ):
        open_result(result, str(tmp_path / "other"))
    with pytest.raises(UserError, match="there is no model"):
        open_result(result, str(tmp_path / "nowhere"))


def test_a_model_that_has_changed_in_its_place_is_refused(people, kept_model, tmp_path):
    model = shutil.copytree(kept_model, tmp_path / "mine")
    out = run_probe("demo_asr", str(model), tmp_path / "r", [f"data.manifest={people}", "baselines=[]", *QUICK])
    other = SSLModel.from_pretrained(model)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(model)
    with pytest.raises(UserError, match=r"the model of the result has changed: .* has the fingerprint .* the probed"):
        open_result(out)


def test_what_cannot_predict_is_refused(result, kept_model, people, tmp_path):
    with pytest.raises(UserError, match="must be a folder that `audio-ssl probe` has written, but there is none"):
        open_result(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has written, but this one has no scores\.json"):
        open_result(kept_model)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="this is a run, whose model has no head"):
        open_result(tmp_path / "run")
    with pytest.raises(UserError, match=r"must be one result of this suite: asr \(name .*asr\)"):
        (tmp_path / "suite.json").write_text("{}")
        open_result(tmp_path)
    (result / "scores.json").unlink()
    with pytest.raises(UserError, match=r"the probe has not finished \(go on with it: audio-ssl"):
        open_result(result)


def test_a_question_without_a_head_cannot_predict(result):
    (result / "probe.yaml").write_text("task: {kind: words}\n")
    with pytest.raises(UserError, match="compares frames of clips and trains no head, so nothing predicts"):
        open_result(result)


def test_damage_is_named(result):
    head = result / "head.safetensors"
    whole = head.read_bytes()
    head.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"head\.safetensors has .* bytes where .* were written"):
        open_result(result)
    head.unlink()
    with pytest.raises(UserError, match=r"head\.safetensors is missing"):
        open_result(result)


def test_a_head_of_another_alphabet_is_refused(result):
    # As long as before, so that nothing but the shapes tells.
    state = load_file(result / "head.safetensors")
    state["head.output.weight"], state["head.output.bias"] = (
        state["head.output.weight"][:2],
        state["head.output.bias"][:2],
    )
    (result / "files.json").unlink()
    save_file({name: value.contiguous() for name, value in state.items()}, result / "head.safetensors")
    with pytest.raises(UserError, match=r"the head does not fit its probe: the weight `head\.output"):
        open_result(result)


EARLIER = Path(__file__).parents[1] / "earlier" / "artifacts" / "results"


@pytest.mark.parametrize(("name", "classes"), [("asr", 5), ("key", 24)])
def test_results_of_earlier_releases_open(name, classes):
    opened = open_result(EARLIER / name / "baselines" / "logmel")
    assert (len(opened.task.classes), opened.layers) == (classes, (0,))
    with pytest.raises(UserError, match="is gone: it was runs/mert_tiny, fingerprint 266309296302a408"):
        open_result(EARLIER / name)


def test_results_of_earlier_releases_in_folds_say_what_to_do():
    with pytest.raises(UserError, match=r"the heads of its folds alone.*run the probe again, into another folder"):
        open_result(EARLIER / "emotion_in_folds")
