"""Every guide works as it is printed, in small; a command that is wrong, or prints something else, is found."""

import csv

import numpy as np
import pytest
import soundfile
import torch
import transformers

import audio_ssl
from tests.docs.guides import ROOT, blocks, follow

GUIDES = ROOT / "docs" / "guides"
RATE = 16000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def printed(capsys):
    def read():
        captured = capsys.readouterr()
        return captured.out + captured.err

    return read


def sound(path, pitch_hz, seconds=1.2):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(round(pitch_hz)).normal(0, 0.01, len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch_hz * time) + noise, RATE)


def librispeech(here):
    """A LibriSpeech of three subsets, two readers each."""
    readers = []
    for place, subset in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        for reader in (10 + 2 * place, 11 + 2 * place):
            chapter = here / "LibriSpeech" / subset / str(reader) / "1"
            names = [f"{reader}-1-{number:04}" for number in range(3)]
            for number, name in enumerate(names):
                sound(chapter / f"{name}.flac", 200 + 40 * number)
            text = "".join(f"{name} {('AB', 'CA', 'ABC')[number]}\n" for number, name in enumerate(names))
            (chapter / f"{reader}-1.trans.txt").write_text(text)
            readers.append(f"{reader} | {'FM'[reader % 2]} | {subset} | 0.1 | Somebody\n")
    (here / "LibriSpeech" / "SPEAKERS.TXT").write_text("".join(readers))


def folder_of_music(here):
    """Sounds of two kinds, and the table of their labels."""
    with (here / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for number in range(8):
            path = here / "my_music" / f"take_{number}.wav"
            sound(path, 220 * (1 + number % 2) + number)
            rows.writerow([path.relative_to(here), ("drum", "synth")[number % 2]])


def tables_of_a_recogniser(here):
    """What two versions of a recogniser wrote for twelve speakers, and the clips of a test set."""
    for name, wrong in (("predictions.csv", 3), ("new.csv", 4)):
        with (here / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "reference", "hypothesis", "speaker", "gender", "age"])
            for speaker in range(12):
                for clip in range(3):
                    written = "the sea is" if clip < speaker % wrong else "the sea is old"
                    age = 30 if speaker < 6 else 60
                    rows.writerow([f"{speaker}-{clip}", "the sea is old", written, speaker, "FM"[speaker % 2], age])
    with (here / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "speaker", "gender"])
        for number in range(4):
            sound(here / "clips" / f"{number}.wav", 200 + number)
            rows.writerow([f"clips/{number}.wav", f"s{number}", "FM"[number % 2]])


def public_model(here):
    """A HuBERT of transformers, recordings, a table with transcripts of some, and new recordings."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    narrow = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = transformers.HubertModel(transformers.HubertConfig(**sizes, **narrow))
    model.save_pretrained(here / "hubert")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(here / "hubert")
    with (here / "transcripts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "text", "speaker", "gender", "split"])
        for number in range(24):
            path = f"my_recordings/talk_{number}.wav"
            sound(here / path, 200 + 20 * number)
            if number < 12:
                split = ("train", "valid", "test")[number // 4]
                rows.writerow([path, ("AB", "BA C")[number % 2], f"s{number // 2}", "FM"[number // 2 % 2], split])
    sound(here / "new_recordings" / "day_0.wav", 300, seconds=3.0)


GIVEN = {
    "student": librispeech,
    "lab": librispeech,
    "music": folder_of_music,
    "audit": tables_of_a_recogniser,
    "yours": public_model,
}
"""What the reader of each guide has before it begins."""


def test_every_guide_is_tried():
    assert sorted(GIVEN) == sorted(path.stem for path in GUIDES.glob("*.md"))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_guide_works_as_it_is_printed(name, here, printed):
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    assert len(blocks(text)) >= 4
    GIVEN[name](here)
    follow(text, printed)


def test_the_examples_of_the_python_page_run(here, printed):
    folder_of_music(here)
    follow((ROOT / "docs" / "api.md").read_text(encoding="utf-8"), printed)


def test_the_python_page_shows_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    code = "".join(block.text for block in blocks(page))
    for name in set(audio_ssl.__all__) - {"__version__", "Model", "ModelOutput"}:
        assert f"audio_ssl.{name}" in code, name
    for name in set(audio_ssl.__all__) - {"__version__"}:
        assert f":: audio_ssl.{name}\n" in page, name


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("```console\n$ audio-ssl list recipess\n```", "audio-ssl list recipess"),
        ("```console\n$ audio-ssl list corpora\nno_such_corpus\n```", "does not print 'no_such_corpus'"),
        ("```console\n$ audio-ssl manifest folder_that_is_not_there --out m.jsonl\n```", "folder_that_is_not_there"),
        ("```console\n$ pip install 'audio-ssl[no_such_extra]'\n```", "no_such_extra"),
        ("```console\n$ audio_ssl list\n```", "nobody knows how to run audio_ssl"),
        ("<!-- in small: probe seeds=[0] -->\n```console\n$ audio-ssl list probes\n```", "no command of the block"),
        ("<!-- in small: list --out other -->\n```console\n$ audio-ssl list probes\n```", "only settings are added"),
        ("```python\nassert False, 'as Python'\n```", "as Python"),
    ],
)
def test_a_guide_that_is_wrong_is_found(block, found, printed):
    with pytest.raises(AssertionError, match=found):
        follow(block, printed)


def test_what_a_guide_shows_may_differ_in_digits(here, printed):
    folder_of_music(here)
    follow("```console\n$ audio-ssl manifest my_music --out m.jsonl\nm.jsonl: 123456 clips\n```", printed)
