"""Files of a tokeniser of transformers that reads what a CTC head gives: token ids of frames, blanks among them.

Characters become a `Wav2Vec2CTCTokenizer` with ``vocab.json``, the form of published recognisers, whose times of words
the pipeline knows as well. Words, pieces of words, and characters with a ``|`` among them become a ``tokenizer.json``
of the tokenizers package, whose CTC decoder does the same. Either gives the text of `audio_ssl.probing.head.greedy`; of
repeated spaces, which that makes one, `Wav2Vec2CTCTokenizer` keeps each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SPACE = "▁"
"""How sentencepiece spells a space."""

_BLANKS, _UNKNOWNS = ("<pad>", "<blank>", "<ctc>"), ("<unk>", "<unknown>", "<other>")
_DELIMITER = "|"
"""Of words; transformers 5 knows no other."""


@dataclass(frozen=True)
class TokenizerFiles:
    """Files to write, and what a model's config says of them."""

    kind: str
    """Class of transformers."""

    files: dict[str, dict[str, Any]]
    """Name to content."""

    tokens: int
    """Ids there are: the blank, which is 0, the symbols, and one for unknown symbols, which no frame has."""


def tokenizer_files(symbols: Sequence[str]) -> TokenizerFiles:
    """Return the files for the classes of a CTC head.

    Parameters
    ----------
    symbols
        Classes from 1 on, as sentencepiece spells them (`SPACE`); class 0 is the blank.

    Examples
    --------
    >>> found = tokenizer_files(["▁", "a", "b"])
    >>> found.kind, found.files["vocab.json"]
    ('Wav2Vec2CTCTokenizer', {'<pad>': 0, '|': 1, 'a': 2, 'b': 3, '<unk>': 4})
    """
    blank, unknown = _unused(_BLANKS, symbols), _unused(_UNKNOWNS, symbols)
    last = len(symbols) + 1
    settings = {
        "pad_token": blank,
        "unk_token": unknown,
        "bos_token": None,
        "eos_token": None,
        # "it 's" must stay as it was recognised.
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
        "processor_class": "Wav2Vec2Processor",
    }
    if all(len(symbol) == 1 and symbol != _DELIMITER for symbol in symbols):
        named = [_DELIMITER if symbol == SPACE else symbol for symbol in symbols]
        vocabulary = {token: number for number, token in enumerate([blank, *named, unknown])}
        kind = "Wav2Vec2CTCTokenizer"
        own = {"word_delimiter_token": _DELIMITER, "replace_word_delimiter_char": " ", "do_lower_case": False}
        said: dict[str, Any] = {**settings, **own, "tokenizer_class": kind}
        return TokenizerFiles(kind, {"vocab.json": vocabulary, "tokenizer_config.json": said}, last + 1)
    vocabulary = {token: number for number, token in enumerate([blank, *symbols, unknown])}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": number, "content": token, **special} for number, token in ((0, blank), (last, unknown))]
    decoders = [
        {"type": "CTC", "pad_token": blank, "word_delimiter_token": SPACE, "cleanup": True},
        {"type": "Fuse"},
        {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "},
        {"type": "Strip", "content": " ", "start": 1, "stop": 1},
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": unknown},
    }
    kind = "PreTrainedTokenizerFast"
    files: dict[str, dict[str, Any]] = {
        "vocab.json": vocabulary,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {**settings, "tokenizer_class": kind},
    }
    return TokenizerFiles(kind, files, last + 1)


def _unused(names: Sequence[str], taken: Sequence[str]) -> str:
    """Return the first name that is no symbol; with many more symbols than names, one is free."""
    numbered = (f"{names[0]}{number}" for number in range(len(taken) + 1))
    return next(name for name in (*names, *numbered) if name not in taken)
