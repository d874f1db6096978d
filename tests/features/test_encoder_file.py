"""Any encoder in a file is a source of features: counts of frames, batches, long files, bad programs."""

import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.__main__ import run
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.commands.explain import listing_lines
from audio_ssl.features.encoder_file import FOLDER, open_encoder_file
from audio_ssl.features.source import open_source

HOP = 320
FRAMES = {
    "valid": f"(samples - 400) // {HOP} + 1",
    "ceil": f"(samples + {HOP - 1}) // {HOP}",
    "floor": f"samples // {HOP}",
    "center": f"samples // {HOP} + 1",
    "later": f"(samples - 1001) // {HOP} + 1",
}
BODY = """
import torch

SAMPLE_RATE = 16000
HOP_SECONDS = 0.02

def load():
    pass

def encode(waveforms, lengths):
    # What padding would change: every frame says how loud the clip is.
    assert len(waveforms) == 1
    samples = waveforms.shape[1]
    frames = FRAMES
    level = waveforms.square().mean().sqrt()
    place = torch.arange(frames)
    first = torch.stack([level.expand(frames), place], -1)
    return [first[None], 2 * first[None]]
"""


def write(folder, text=BODY, frames="floor", name="mine.py"):
    (folder / name).write_text(textwrap.dedent(text).replace("FRAMES", FRAMES[frames]))
    return str(folder / name)


@pytest.mark.parametrize("frames", FRAMES)
def test_how_frames_are_counted_is_found_out(frames, tmp_path):
    source = open_source(write(tmp_path, frames=frames))
    assert (source.num_layers, source.dim, source.sample_rate) == (2, 2, 16000)
    for samples in (1321, 1322, 1960, 3199, 3200, 3201, 16000, 50_001):
        assert source.grid.num_frames(samples) == eval(FRAMES[frames])
        hidden, counts = source(torch.ones(1, samples), torch.tensor([samples]))
        assert counts.tolist() == [hidden[0].shape[1]] == [eval(FRAMES[frames])]


def test_a_clip_in_a_batch_has_the_frames_that_it_has_alone(tmp_path):
    source = open_source(write(tmp_path))
    waves = torch.randn(3, 9000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9000, 5000, 700])
    hidden, counts = source(waves, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone, _ = source(waves[row : row + 1, :samples], lengths[row : row + 1])
        assert torch.equal(hidden[1][row, : counts[row]], alone[1][0])
        assert not hidden[1][row, counts[row] :].any()
    assert len(source(waves, lengths, top=0)[0]) == 1


def test_a_file_may_take_batches(tmp_path):
    text = BODY.replace("    assert len(waveforms) == 1\n", "") + "\nBATCHED = True\n"
    text = text.replace(
        "level.expand(frames), place], -1)", "level.expand(frames), place], -1).expand(len(waveforms), -1, -1)"
    )
    source = open_source(write(tmp_path, text.replace("first[None]", "first"), "ceil"))
    hidden, counts = source(torch.ones(2, 9000), torch.tensor([9000, 5000]))
    assert counts.tolist() == [29, 16]
    assert hidden[0].shape == (2, 29, 2)
    assert not hidden[0][1, 16:].any()


def test_audio_longer_than_a_file_takes_is_given_in_pieces(tmp_path):
    text = (
        BODY.replace("    samples =", "    assert waveforms.shape[1] <= 16000\n    samples =")
        + "\nLONGEST_SECONDS = 1.0\n"
    )
    for frames in ("valid", "ceil", "center"):
        source = open_source(write(tmp_path, text, frames))
        samples = 40_123
        hidden, counts = source(torch.ones(1, samples), torch.tensor([samples]))
        assert counts.tolist() == [hidden[0].shape[1]] == [eval(FRAMES[frames])]


def test_a_model_and_a_device_are_given_where_load_asks_for_them(tmp_path):
    text = BODY.replace("def load():\n    pass", "def load(model, device):\n    return torch.nn.Linear(1, int(model))")
    text = text.replace("def encode(waveforms, lengths)", "def encode(waveforms, lengths, model)")
    text = text.replace("return [", "first = torch.cat([first] * model.out_features, -1)\n    return [")
    path = write(tmp_path, text)
    torch.manual_seed(0)
    source = open_source(f"{path}:3")
    assert source.dim == 6
    assert source.at(torch.device("cpu"), "float32").dim == 6
    # Other weights are another source.
    assert open_source(f"{path}:3").fingerprint != source.fingerprint
    for name, words in ((path, "mine.py:MODEL"), (f"{write(tmp_path, name='none.py')}:3", "takes no `model`")):
        with pytest.raises(UserError, match=words):
            open_source(name)


BAD = {
    "`SAMPLE_RATE` must be a whole number above 0, but is missing": ("SAMPLE_RATE = 16000", ""),
    "`SAMPLE_RATE` must be a whole number above 0, but is 16000.5": ("16000", "16000.5"),
    "must be a whole number of samples, but is 320.8": ("0.02", "0.02005"),
    "must be the time from one frame to the next": ("0.02", "0.01"),
    "`load` must be a function, but is missing": ("def load():", "def other():"),
    "`encode` must take waveforms and lengths": ("(waveforms, lengths)", "(waveforms)"),
    "may take waveforms and lengths and model, but needs `rate`": (
        "(waveforms, lengths)",
        "(waveforms, lengths, rate)",
    ),
    r"mine.py:8: `load` failed: RuntimeError: no weights": ("    pass", "    raise RuntimeError('no weights')"),
    r"`encode` fails with a second of noise: .*mine.py:1\d: ZeroDivisionError": (
        "    level =",
        "    1 / 0\n    level =",
    ),
    r"layers of \[clip, frame, dim\] with 1 clips, but one is \[50, 2\]": ("first[None], 2", "first, 2"),
    "all layers of `encode` must have one shape": ("2 * first[None]", "first[None, :, :1]"),
    "must return layers": ("return [first[None], 2 * first[None]]", "return None"),
    "numbers that are not finite": ("2 * first", "float('nan') * first"),
    r"the file cannot be run: SyntaxError": ("import torch", "import torch ("),
    r"the file needs the package no_such_package": ("import torch", "import no_such_package"),
}


@pytest.mark.parametrize("words", BAD)
def test_what_is_wrong_with_a_file_is_said_in_one_line(words, tmp_path, capsys):
    good, bad = BAD[words]
    assert good in BODY
    path = write(tmp_path, BODY.replace(good, bad))
    with pytest.raises(UserError, match=words):
        open_encoder_file(path)
    assert run(["extract", str(tmp_path), path, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_file_and_no_twin(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        open_source(str(tmp_path / "none.py"))
    with pytest.raises(UserError, match="no untrained twin"):
        open_source(f"untrained:{write(tmp_path)}")
    with pytest.raises(UserError, match="`precision` must be float32"):
        open_source(write(tmp_path)).at(torch.device("cpu"), "bfloat16")


def audio(folder, count, seconds=0.4):
    for number in range(count):
        folder.mkdir(parents=True, exist_ok=True)
        wave = (0.1 + 0.4 * (number % 2)) * np.random.default_rng(number).standard_normal(round(seconds * 16000))
        soundfile.write(folder / f"{number}.wav", wave, 16000)


def test_a_clip_that_the_file_fails_with_is_recorded_and_the_others_are_extracted(tmp_path):
    audio(tmp_path / "audio", 3)
    audio(tmp_path / "audio" / "long", 1, 0.5)
    text = BODY.replace("    level =", "    if samples == 8000:\n        raise ValueError('too much')\n    level =")
    assert run(["extract", str(tmp_path / "audio"), write(tmp_path, text), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "index.jsonl").read_text().count("\n") == 3
    (wrong,) = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    assert "ValueError: too much" in wrong
    source = open_source(write(tmp_path, text))
    with pytest.raises(AudioError, match="too much"):
        source(torch.ones(1, 8000), torch.tensor([8000]))


def test_a_probe_asks_a_file_and_leaves_its_twin_out_but_no_result_makes_it_run(tmp_path, capsys, monkeypatch):
    audio(tmp_path / "audio", 8)
    rows = [f"audio/{number}.wav,{('soft', 'loud')[number % 2]}" for number in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    assert run(["manifest", "table", "--root", "labels.csv", "--out", "m.jsonl"]) == 0
    settings = ["data.manifest=m.jsonl", "data.folds=4", "data.fold_column=id", "optim.steps=20", "optim.eval_every=10"]
    assert run(["probe", "label", "mine.py", *settings, "--out", "result"]) == 0
    assert [path.name for path in (tmp_path / "result" / "baselines").iterdir()] == ["logmel"]
    assert run(["report", "result", "--out", "report.html"]) == 0
    capsys.readouterr()
    assert run(["predict", "result", "audio", "--out", "p"]) == 2
    assert "which no result makes run" in capsys.readouterr().err
    assert run(["predict", "result", "audio", "--model", "mine.py", "--out", "p"]) == 0


def test_encoders_that_come_along_are_listed():
    listed = list(listing_lines("parts"))
    section = listed[listed.index(FOLDER) + 1 :]
    assert [line.split()[0] for line in section] == ["ast", "speecht5", "w2v_bert", "whisper"]


def test_the_example_of_the_documentation_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text(encoding="utf-8")
    (example,) = (text for text in page.split("```python\n") if text.startswith("# my_encoder.py"))
    (tmp_path / "my_encoder.py").write_text(example.partition("```")[0])
    audio(tmp_path / "audio", 2)
    monkeypatch.chdir(tmp_path)
    assert run(["extract", "audio", "my_encoder.py", "--layers", "1", "--pool", "mean", "--out", "out"]) == 0
    assert (tmp_path / "out" / "index.jsonl").read_text().count("\n") == 2
