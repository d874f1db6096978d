"""`audio-ssl check`: what is whole is called whole; what is damaged is named, with a command that repairs it."""

import dataclasses
import json
import os
import shlex
import shutil

import pytest
import torch

from audio_ssl import __main__
from audio_ssl.data.build import make_manifest
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.data.store import StoreWriter
from audio_ssl.features.extract import extract
from audio_ssl.interop.export import export_model
from audio_ssl.pretrain.make_targets import make_targets
from audio_ssl.probing.predicting import predict
from audio_ssl.probing.run import run_probe
from tests.faults.conftest import SMALL
from tests.faults.damage import cut, flip


def checked(*paths):
    return __main__.run(["check", *map(str, paths)])


def mend(said):
    """Run what the output says repairs it."""
    (line,) = [one for one in said.splitlines() if one.startswith("  to repair it: ")]
    for part in line.removeprefix("  to repair it: ").split(" && "):
        words = [word for word in shlex.split(part) if word != "-r"]
        if words[0] == "rm":
            for name in words[1:]:
                shutil.rmtree(name) if os.path.isdir(name) else os.unlink(name)
        else:
            assert words[0] == "audio-ssl"
            assert __main__.run(words[1:]) == 0


@pytest.fixture
def features(audio, tmp_path):
    return extract(audio, "logmel", tmp_path / "features", format="parquet")


@pytest.fixture
def result(speech, tmp_path, capsys):
    argv = [
        "probe",
        "demo_asr",
        "logmel",
        f"data.manifest={speech}",
        "optim.steps=2",
        "optim.eval_every=1",
        "head.dim=8",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["audio-ssl", *argv, "--out", str(tmp_path / "result")])
        run_probe("demo_asr", "logmel", tmp_path / "result", argv[3:])
    capsys.readouterr()
    return tmp_path / "result"


@pytest.fixture
def targets(speech, tmp_path):
    return make_targets("hubert_mel_tiny", [f"data.manifest={speech}", *SMALL], tmp_path / "targets")


def test_whole_artifacts_are_called_whole(run, features, result, targets, model_folder, speech, capsys):
    export_model(str(model_folder), run.parent / "exported")
    assert checked(run, features, result, targets, run.parent / "exported", speech) == 0
    said = capsys.readouterr().out
    assert "DAMAGED" not in said
    for path, kind in (
        (run, "run"),
        (features, "features"),
        (result, "result"),
        (targets, "store"),
        (speech, "manifest"),
    ):
        assert f"{path}: {kind}, whole (" in said
    assert f"{run / 'state' / 'step_2'}: checkpoint, whole" in said
    assert "30 audio files are there and long enough" in said


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(
    ("artifact", "pattern"),
    [
        ("run", "model.safetensors"),
        ("features", "parquet/*.parquet"),
        ("result", "predictions.parquet"),
        ("targets", "shard-*.safetensors"),
        ("result", "head.safetensors"),
    ],
)
def test_damage_is_named_and_what_is_said_mends_it(request, capsys, artifact, pattern, damage):
    folder = request.getfixturevalue(artifact)
    (file,) = folder.glob(pattern)
    damage(file)
    assert checked(folder) == 2
    heard = capsys.readouterr()
    wrong = "has other bytes than were written" if damage is flip else "bytes where"
    assert f"  {file.relative_to(folder)} " in heard.out
    assert wrong in heard.out
    assert len([line for line in heard.err.splitlines() if line.startswith("error: ")]) == 1
    mend(heard.out)
    capsys.readouterr()
    assert checked(folder) == 0, capsys.readouterr().out


def test_a_damaged_checkpoint_is_named_and_goes(run, capsys):
    cut(run / "state" / "step_2" / "optimizer.safetensors")
    assert checked(run) == 2
    said = capsys.readouterr().out
    assert f"{run / 'state' / 'step_2'}: checkpoint, DAMAGED" in said
    assert "  optimizer.safetensors has " in said
    mend(said)
    assert checked(run) == 0


def test_an_index_that_is_another_is_damage(features, capsys):
    index, record = features / "index.jsonl", features / "files.json"
    index.write_text(index.read_text().replace('"seconds": ', '"seconds": 1', 1))
    assert checked(features) == 2
    assert "index.jsonl has " in capsys.readouterr().out
    # As of earlier versions, which have no record of it.
    record.unlink()
    index.write_text("")
    assert checked(features) == 2
    said = capsys.readouterr().out
    assert "index.jsonl is empty" in said
    mend(said)
    assert checked(features) == 0


def test_records_that_disagree_are_damage(audio, tmp_path, capsys):
    out = extract(audio, "logmel", tmp_path / "features")
    record = out / "store" / "files.json"
    text = record.read_text()
    for old, new, what in (
        ('"sha256": "', '"sha256": "0', "tells another content of shard-00000.safetensors than the index"),
        ("shard-00000", "shard-00009", "shard-00009.safetensors is missing"),
        ("{", "(", "not JSON"),
    ):
        record.write_text(text.replace(old, new, 1))
        assert checked(out) == 2
        assert what in capsys.readouterr().out


def test_a_recipe_that_cannot_be_read_is_named(run, capsys):
    (run / "recipe.yaml").write_text("steps: [1")
    assert checked(run) == 2
    assert "write it again, or begin a new run" in capsys.readouterr().out


def test_manifests_whose_audio_is_gone_or_short(audio, tmp_path, capsys):
    folder = shutil.copytree(audio, tmp_path / "audio")
    make_manifest(str(folder), tmp_path / "m.jsonl")
    clips = read_manifest(tmp_path / "m.jsonl")
    (folder / "0train.wav").unlink()
    write_manifest(tmp_path / "m.jsonl", [*clips[:-1], dataclasses.replace(clips[-1], seconds=2.0)])
    assert checked(tmp_path / "m.jsonl") == 2
    said = capsys.readouterr().out
    assert "0train.wav cannot be used: " in said
    assert "ends after 1.00 s, and the row wants audio up to 2.00 s" in said


def test_what_is_not_finished_is_said_and_no_damage(run, capsys):
    facts = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**facts, "finished": False}))
    (run / "model.safetensors").unlink()
    (run / "files.json").unlink()
    assert checked(run) == 0
    assert f"not finished: audio-ssl pretrain {run / 'recipe.yaml'} --resume --out {run}" in capsys.readouterr().out


def test_an_iteration_leads_to_the_command_of_its_run(run, capsys):
    (run / "iteration_1").mkdir()
    facts = json.loads((run / "provenance.json").read_text())
    (run / "iteration_1" / "provenance.json").write_text(json.dumps({**facts, "finished": False}))
    (run / "iteration_1" / "config.json").write_text("{")
    assert checked(run / "iteration_1") == 2
    assert f"  to repair it: audio-ssl pretrain {run / 'recipe.yaml'} --resume --out {run}\n" in capsys.readouterr().out
    (run / "iteration_1" / "config.json").unlink()
    assert checked(run / "iteration_1") == 0
    assert f"not finished: audio-ssl pretrain {run / 'recipe.yaml'} --resume" in capsys.readouterr().out


def test_old_artifacts_are_checked_as_far_as_can_be(tmp_path, capsys):
    with StoreWriter(tmp_path / "s", {"kind": "x"}) as writer:
        writer.add("a", {"0": torch.arange(1000.0)})
    (tmp_path / "s" / "files.json").unlink()
    assert checked(tmp_path / "s") == 0
    assert "only lengths and formats could be checked" in capsys.readouterr().out
    cut(tmp_path / "s" / "shard-00000.safetensors")
    assert checked(tmp_path / "s") == 2


def test_predictions_that_are_damaged_are_made_again(result, audio, tmp_path, capsys):
    written = predict(result, audio, tmp_path / "answers")
    assert checked(tmp_path / "answers") == 0
    assert "predictions, whole" in capsys.readouterr().out
    main = written.files[0]
    before = main.read_bytes()
    for damage in (cut, flip):
        damage(main)
        assert checked(tmp_path / "answers") == 2
        mend(capsys.readouterr().out)
        assert main.read_bytes() == before
        capsys.readouterr()
    main.unlink()
    assert checked(tmp_path / "answers") == 2


@pytest.mark.parametrize(("name", "message"), [("none", "no such file or folder"), ("", "holds no run, features")])
def test_what_is_nothing_is_refused(tmp_path, capsys, name, message):
    assert checked(tmp_path / name) == 2
    assert message in capsys.readouterr().err
