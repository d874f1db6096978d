"""Tokenisers that are exported read frames as our greedy decoding does, whatever the units are."""

import json
import random

import pytest
import torch
from transformers import AutoTokenizer

from audio_ssl.interop.ctc_tokenizer import tokenizer_files
from audio_ssl.probing.head import greedy

SYMBOLS = {
    "characters": ("Wav2Vec2CTCTokenizer", list("▁abc")),
    "a language without spaces": ("Wav2Vec2CTCTokenizer", list("かなり")),
    "a bar among the characters": ("PreTrainedTokenizerFast", list("▁a|b")),
    "pieces": ("PreTrainedTokenizerFast", ["▁the", "▁a", "b", "▁", "'s", "."]),
    "words and special names": ("PreTrainedTokenizerFast", ["▁yes", "▁no", "<unk>", "<pad>"]),
}


@pytest.mark.parametrize("name", SYMBOLS)
def test_frames_become_the_same_text(tmp_path, name):
    kind, symbols = SYMBOLS[name]
    made = tokenizer_files(symbols)
    assert (made.kind, made.tokens) == (kind, len(symbols) + 2)
    for file, content in made.files.items():
        (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, len(symbols) + 1)
    draw = random.Random(0)
    for _ in range(50):
        ids = [draw.choice([0, 0, *range(1, len(symbols) + 1)]) for _ in range(14)]
        text = "".join(symbols[token] for token in greedy(torch.tensor(ids)).tolist()).replace("▁", " ")
        found = tokenizer.decode(ids)
        # Wav2Vec2CTCTokenizer keeps spaces that follow each other.
        assert (" ".join(found.split()) if kind == "Wav2Vec2CTCTokenizer" else found) == " ".join(text.split())


def test_characters_are_cut_for_further_training(tmp_path):
    for file, content in tokenizer_files(list("▁abc")).files.items():
        (tmp_path / file).write_text(json.dumps(content))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    assert AutoTokenizer.from_pretrained(tmp_path)("ab cx").input_ids == [2, 3, 1, 4, 5]
