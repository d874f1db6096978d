import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from audio_ssl import __main__
from audio_ssl.base import catalog
from audio_ssl.base.config import structure, unstructure
from audio_ssl.commands.app import app
from audio_ssl.commands.explain import PART_FOLDERS, explained_yaml, field_notes, keys_page
from audio_ssl.pretrain.recipe import load_recipe, structure_recipe
from audio_ssl.probing.probe import Probe, load_probe


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_a_shown_recipe_is_the_same_recipe_with_a_line_about_each_key(name):
    recipe = load_recipe(name, ["steps=7", "data.manifest=a b.jsonl"])
    text = explained_yaml(recipe, kind=True)
    assert structure_recipe(yaml.safe_load(text)) == recipe
    assert [line for line in text.splitlines() if "  # " not in line] == []


@pytest.mark.parametrize("name", catalog.names("probes"))
def test_a_shown_probe_is_the_same_probe(name):
    probe = load_probe(name)[1]
    text = explained_yaml(probe)
    assert structure(Probe, yaml.safe_load(text)) == probe
    assert [line for line in text.splitlines() if "  # " not in line] == []


@pytest.mark.parametrize("folder", PART_FOLDERS)
def test_every_key_of_every_part_has_a_line_about_it(folder):
    for name in catalog.parts(folder):
        config = catalog.load_part(folder, name).Config
        assert [f.name for f in dataclasses.fields(config) if not field_notes(config).get(f.name)] == [], name


def test_text_that_yaml_would_misread_is_quoted():
    probe = load_probe("demo_key", ["data.where={language: 'no'}", "data.train_split='#1: a'"])[1]
    assert yaml.safe_load(explained_yaml(probe)) == unstructure(probe)


def test_pretrain_shows_its_keys_and_the_output_is_a_recipe(tmp_path, capsys):
    assert __main__.run(["pretrain", "demo", "optim.lr=1e-4", "--show"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\n  lr: 0.0001  # \w", shown)
    (tmp_path / "mine.yaml").write_text(shown)
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("demo", ["optim.lr=1e-4"])


def test_show_refuses_a_wrong_key_as_training_does(capsys):
    assert __main__.run(["pretrain", "demo", "optim.lrs=1", "--show"]) == 2
    assert "$.optim: unknown key `lrs`" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["data.folds=4"], ["logmel", "data.folds=4"]])
def test_probe_shows_its_keys_with_and_without_a_model(argv, capsys):
    assert __main__.run(["probe", "demo_key", *argv, "--show"]) == 0
    assert "\n  folds: 4  # " in capsys.readouterr().out


def test_without_out_or_model_the_command_says_what_it_needs(capsys):
    assert __main__.run(["pretrain", "demo"]) == 2
    assert "`--out` must be given (add --out FOLDER" in capsys.readouterr().err
    assert __main__.run(["probe", "demo_key", "--out", "x"]) == 2
    assert "`model` must be given" in capsys.readouterr().err


def test_the_page_of_keys_has_recipes_parts_and_probes():
    page = keys_page(Probe)
    for row in (
        "| `steps` | `400000` | Optimiser updates (MERT 95M). |",
        "| `optim.lr` | `0.0005` |",
        "| `n_bins` | `336` |",
        "| `data.fold_column` | `speaker` |",
        "| `task` | must be given | ",
    ):
        assert row in page
    assert re.search(r"\| `task` \| .* One of: abx, ", page)


def complete(*words):
    """Return what bash offers for the last of the words, by the script that `--install-completion` installs."""
    script = app.generate_completion(shell="bash")
    quoted = " ".join(shlex.quote(word) for word in ("audio-ssl", *words))
    code = f'{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _audio_ssl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    folder = Path(sys.executable).parent
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    return done.stdout.split()


def test_bash_completes_commands_options_and_names():
    assert complete("pret") == ["pretrain"]
    assert complete("pretrain", "mert_95") == ["mert_95m", "mert_95m_kmeans"]
    assert complete("probe", "suite_s") == ["suite_speech"]
    assert complete("manifest", "librisp") == ["librispeech"]
    assert "--resume" in complete("pretrain", "mert_tiny", "--re")


def test_a_shell_that_cannot_be_told_is_named_and_status_2(tmp_path):
    environment = {"PATH": "/nonexistent", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "audio_ssl", "--install-completion"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--shell" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("shell", "place"), [
    ("bash", ".local/share/bash-completion/completions/audio-ssl"),
    ("zsh", ".zsh/completions/_cyclopts_audio-ssl"),
    ("fish", ".config/fish/completions/audio-ssl.fish"),
])  # fmt: skip
def test_completion_installs_itself(shell, place, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ZSH"))}
    done = subprocess.run(
        [sys.executable, "-m", "audio_ssl", "--install-completion", "--shell", shell],
        capture_output=True, text=True, check=False, env={**environment, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "audio-ssl" in (tmp_path / place).read_text()
