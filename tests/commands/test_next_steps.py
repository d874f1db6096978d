"""Every "next:" line and every remedy that names a command or a setting works as it is printed."""

import json
import re
import shlex

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl import __main__
from audio_ssl.commands.app import after_manifest, free_name, some_rows
from audio_ssl.models.encoders import gru
from audio_ssl.models.frontends import mel
from audio_ssl.models.model import ModelConfig, build_model
from tests.pretrain.test_run import SMALL

RATE = 16000
QUICK = {"pretrain": ["steps=1", "codec.steps=1"], "probe": ["optim.steps=4", "optim.eval_every=2", "baselines=[]"]}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder whose files are named with spaces, as people do, by relative names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sounds(folder, count=8, seconds=1.2):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        time = np.arange(int(seconds * RATE)) / RATE
        wave = 0.3 * np.sin(2 * np.pi * 220 * (1 + number % 2) * time) + 0.01 * rng.normal(size=len(time))
        soundfile.write(folder / f"take {number}.wav", wave.astype(np.float32), RATE)
    return folder


def table(path, folder, columns):
    """Write a table of the sounds with a function of their number for each column."""
    rows = [",".join(["path", *columns])]
    for number, _ in enumerate(sorted(folder.iterdir())):
        rows.append(",".join([f"{folder.name}/take {number}.wav", *(f(number) for f in columns.values())]))
    path.write_text("\n".join(rows) + "\n")


def run(capsys, *argv, status=0):
    """Run a command; return the words of its "next:" line, or what it says is wrong."""
    got = __main__.run(list(argv))
    said = capsys.readouterr()
    assert got == status, said.err
    if status:
        return said.err.splitlines()[-1]
    found = [line.removeprefix("next: ") for line in said.out.splitlines() if line.startswith("next: ")]
    return shlex.split(found[0])[1:] if found else None


def follow(capsys, words, **names):
    """Run a "next:" line, with capitals filled in, and few updates."""
    words = [names.get(word, word) for word in words]
    out = words.index("--out")
    return run(capsys, *words[:out], *QUICK.get(words[0], []), *words[out:])


def settings_of(message):
    """Return the settings that a message tells the user to give, read as the shell would."""
    remedy = message[message.rindex(" (") + 2 : -1]
    return re.findall(r"[a-z_]+(?:\.[a-z_]+)*=(?:'[^']*'|[^\s,;)])+", remedy)


def test_a_folder_of_audio_leads_to_a_run_and_to_its_features(here, capsys):
    sounds(here / "my music")
    words = run(capsys, "manifest", "my music", "--out", "my music.jsonl")
    assert words == ["pretrain", "demo", "data.manifest=my music.jsonl", "--out", "runs/my music"]
    words = follow(capsys, words)
    assert words == ["extract", "AUDIO_FOLDER", "runs/my music", "--out", "features"]
    follow(capsys, words, AUDIO_FOLDER="my music")
    assert len((here / "features" / "index.jsonl").read_text().splitlines()) == 8
    # Made again, the same manifest leads to a folder that is free.
    assert run(capsys, "manifest", "my music", "--out", "my music.jsonl")[-1] == "runs/my music_2"


def test_short_clips_are_let_in(here, capsys):
    sounds(here / "short", seconds=0.456)
    words = run(capsys, "manifest", "short", "--out", "short.jsonl")
    assert "data.min_seconds=0.45" in words
    follow(capsys, words)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": lambda n: "ab"[n % 2]}, ["probe", "label", "logmel", "data.folds=4", "data.fold_column=id"]),
        (
            {"label": lambda n: "ab"[n % 2], "speaker": lambda n: f"s{n // 2}"},
            ["probe", "label", "logmel", "data.folds=4"],
        ),
        (
            {"text": lambda n: "a b", "split": lambda n: ("train", "dev", "test")[n % 3]},
            ["probe", "demo_asr", "logmel", "--out"],
        ),
    ],
)
def test_a_labelled_table_leads_to_a_probe_and_to_its_report(here, capsys, columns, expected):
    table(here / "my takes.csv", sounds(here / "takes"), columns)
    words = run(capsys, "manifest", "table", "--root", "my takes.csv", "--out", "my takes.jsonl")
    assert [word for word in words if "manifest" not in word][: len(expected)] == expected
    words = follow(capsys, words)
    assert words == ["report", "results/my takes", "--out", "report.html"]
    follow(capsys, words)


def test_predictions_lead_to_an_audit(here, capsys):
    columns = {"label": lambda n: "ab"[n % 2], "speaker": lambda n: f"s{n}", "gender": lambda n: "FM"[n // 4]}
    table(here / "my takes.csv", sounds(here / "takes"), columns)
    words = run(capsys, "manifest", "table", "--root", "my takes.csv", "--out", "my takes.jsonl")
    follow(capsys, words)
    words = run(capsys, "predict", "results/my takes", "takes", "--out", "my answers")
    assert words[:3] == ["fairness", "my answers/predictions.parquet", "--manifest"]
    assert words[-4:] == ["--by", "COLUMN", "--out", "fairness.html"]
    # What a folder does not tell is in the manifest, whose clips have other ids; its own predictions have all.
    words = run(capsys, "predict", "results/my takes", "my takes.jsonl", "--out", "answers")
    assert words == ["fairness", "answers/predictions.parquet", "--by", "gender", "--out", "fairness.html"]
    follow(capsys, words)


def test_targets_lead_to_a_run_on_the_same_clips(here, capsys):
    (here / "my recipe.yaml").write_text(SMALL)
    sounds(here / "takes")
    run(capsys, "manifest", "takes", "--out", "my takes.jsonl")
    words = run(capsys, "targets", "my recipe.yaml", "data.manifest=my takes.jsonl", "--out", "my targets")
    assert "data.manifest=my takes.jsonl" in words
    words[words.index("--out") : words.index("--out")] = ["steps=1"]
    words = run(capsys, *words)
    assert words[2] == "runs/my recipe"
    words = run(capsys, "export", words[2], "--out", "my export")
    follow(capsys, words, AUDIO_FOLDER="takes")


@pytest.fixture
def takes(here, capsys):
    """A manifest without splits and speakers."""
    table(here / "takes.csv", sounds(here / "takes"), {"label": lambda n: "ab"[n % 2]})
    run(capsys, "manifest", "table", "--root", "takes.csv", "--out", "takes.jsonl")
    return ["probe", "label", "logmel", "data.manifest=takes.jsonl", *QUICK["probe"], "--out", "r"]


def split_up(here, names, speakers=None):
    rows = [json.loads(line) for line in (here / "takes.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["split"] = names[number % len(names)]
        if speakers:
            row["speaker"] = f"s{number % speakers}"
    (here / "takes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_where_there_are_no_splits_folds_are_offered(takes, capsys):
    said = run(capsys, *takes, status=2)
    assert "no usable clip in the split `train`" in said
    assert settings_of(said) == ["data.folds=4", "data.fold_column=id"]
    run(capsys, *takes, *settings_of(said))


def test_where_a_split_has_another_name_it_is_offered(takes, here, capsys):
    split_up(here, ["train", "dev set", "test", "train"])
    said = run(capsys, *takes, status=2)
    assert said.endswith("(give data.valid_split='dev set')")
    run(capsys, *takes, *shlex.split(" ".join(settings_of(said))))


def test_where_clips_have_no_speakers_folds_of_clips_are_offered(takes, capsys):
    said = run(capsys, *takes, "data.folds=3", status=2)
    assert "3 folds need as many values of `speaker`, but there are 0" in said
    assert settings_of(said) == ["data.fold_column=id"]
    run(capsys, *takes, "data.folds=3", *settings_of(said))


def test_where_there_are_fewer_speakers_than_folds_both_ways_are_offered(takes, here, capsys):
    split_up(here, ["train"], speakers=3)
    said = run(capsys, *takes, "data.folds=5", status=2)
    assert settings_of(said) == ["data.folds=3", "data.fold_column=id"]
    run(capsys, *takes, "data.folds=5", settings_of(said)[1])
    run(capsys, *takes[:-1], "r2", "data.folds=5", settings_of(said)[0])


@pytest.fixture
def training(here, capsys):
    (here / "small.yaml").write_text(SMALL)
    sounds(here / "takes", seconds=0.7)
    run(capsys, "manifest", "takes", "--out", "takes.jsonl")
    return ["pretrain", "small.yaml", "data.manifest=takes.jsonl", "steps=3", "--out", "my run"]


def test_what_a_run_refuses_comes_with_settings_that_it_takes(training, here, capsys):
    split_up(here, ["some clips"])
    said = run(capsys, *training, "data.split=train", status=2)
    assert said.endswith("(give data.split='some clips')")
    run(capsys, *training, *shlex.split(" ".join(settings_of(said))), "data.valid_share=0")


def test_clips_that_are_all_too_short_come_with_a_length_that_fits(training, capsys):
    said = run(capsys, *training, "data.min_seconds=0.9", status=2)
    assert settings_of(said) == ["data.min_seconds=0.35"]
    run(capsys, *training[:-1], "another", *settings_of(said))


def test_a_used_folder_and_another_recipe_come_with_the_command_that_goes_on(training, here, capsys):
    run(capsys, *training, "max_minutes=1e-9")
    said = run(capsys, *training, status=2)
    assert "add --resume to go on" in said
    said = run(capsys, *training, "seed=99", "--resume", status=2)
    command = re.search(r"`(audio-ssl [^`]+)`", said)[1]
    run(capsys, *shlex.split(command)[1:])
    assert json.loads((here / "my run" / "provenance.json").read_text())["steps_done"] == 2
    run(capsys, *shlex.split(command)[1:], "max_minutes=null")
    assert json.loads((here / "my run" / "provenance.json").read_text())["finished"]


def test_a_run_whose_time_is_over_leads_to_the_command_that_goes_on(training, capsys):
    words = run(capsys, *training, "max_minutes=1e-9")
    assert words[-1] == "--resume"
    words = run(capsys, *words)
    assert words[-1] == "--resume"
    assert run(capsys, *words)[0] == "extract"


def test_a_manifest_that_is_missing_comes_with_the_command_that_makes_one(here, capsys):
    (here / "small.yaml").write_text(SMALL)
    sounds(here / "takes")
    said = run(capsys, "pretrain", "small.yaml", "--out", "r", status=2)
    command = re.search(r"`(audio-ssl [^`]+)`", said)[1]
    run(capsys, *shlex.split(command.replace("FOLDER", "takes"))[1:])
    run(capsys, "pretrain", "small.yaml", "steps=1", *settings_of(said), "--out", "r")


def test_a_long_manifest_is_looked_at_in_places(here):
    rows = [{"id": str(n), "seconds": 2.0, "label": "a", "split": "train" if n < 8000 else "x"} for n in range(9000)]
    (here / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = some_rows(here / "m.jsonl")
    assert len(seen) <= 2000
    assert {row["split"] for row in seen} == {"train", "x"}
    assert after_manifest(here / "m.jsonl")[:2] == ["probe", "label"]


def test_a_split_of_another_name_is_named(here):
    rows = [{"id": str(n), "seconds": 9.0, "text": "a", "split": ("train", "dev", "test")[n % 3]} for n in range(9)]
    (here / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = after_manifest(here / "m.jsonl")
    assert {"demo_asr", "data.valid_split=dev", "data.max_seconds=10"} <= set(words)


def test_a_folder_that_is_used_gets_a_number(here):
    (here / "a").mkdir()
    assert free_name(here / "a") == here / "a"
    (here / "a" / "x").touch()
    assert free_name(here / "a") == here / "a_2"


@pytest.mark.parametrize(
    ("command", "refused", "given"),
    [
        ("extract takes logmel --format parquet --dtype bfloat16", "no bfloat16", "--dtype float16"),
        ("extract takes logmel --format parquet --dtype bfloat16", "no bfloat16", "--format safetensors"),
        ("extract takes model precision=int8", "int8, which was removed", "precision=bfloat16"),
        ("extract takes logmel device=cuda", "no GPU can be used", "device=cpu"),
        ("pretrain small.yaml data.manifest=takes.jsonl steps=1 device=cuda", "no GPU", "device=cpu"),
        ("pretrain small.yaml data.manifest=takes.jsonl steps=1 wandb=true", "nobody is logged in", "wandb=false"),
        ("manifest table --root files.csv", "path", "--column path=NAME"),
        ("manifest table --root twice.csv", "appears twice", "--column id=NAME"),
    ],
)
def test_the_remedy_of_a_refusal_works(command, refused, given, here, capsys, monkeypatch):
    argv = [*command.split(), "--out", "out.jsonl" if command.startswith("manifest") else "out"]
    if "wandb=true" in argv:
        pytest.importorskip("wandb")
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(here))
        monkeypatch.setenv("NETRC", str(here / "netrc"))
    if "device=cuda" in argv and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (here / "small.yaml").write_text(SMALL)
    sounds(here / "takes", count=3)
    build_model(
        ModelConfig(mel.Config(), gru.Config(layers=1, dim=8), 16000), torch.Generator().manual_seed(0)
    ).save_pretrained(here / "model")
    names = [f"takes/take {number}.wav" for number in range(3)]
    (here / "files.csv").write_text("sound file,gender\n" + "".join(f"{name},F\n" for name in names))
    (here / "twice.csv").write_text("path,id,sound file\n" + "".join(f"{name},a,{name}\n" for name in names))
    run(capsys, "manifest", "takes", "--out", "takes.jsonl")
    said = run(capsys, *argv, status=2)
    assert refused in said
    assert given in said
    words = shlex.split(given.replace("NAME", "'sound file'"))
    name = words[0].partition("=")[0]
    kept = [w for n, w in enumerate(argv) if not w.startswith(f"{name}=") and name not in (w, argv[n - 1])]
    out = kept.index("--out")
    run(capsys, *kept[:out], *words, *kept[out:])
