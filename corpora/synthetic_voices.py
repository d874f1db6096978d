"""Synthetic voices: espeak-ng in more than fifty languages, ninety voices, any pitch and pace; for pretraining.

Speech of great variety from pip alone, where `synthetic_speech` has few voices and exact translations, for probes. Each
clip draws a language (more than half of them Czech, German, English, French or Spanish), a voice, a pitch, a range of
intonation and a pace by a hash of its number, so that hardly any two clips are spoken alike. What is said comes from

- `names`: dates, times, amounts, measures and lists of places, languages and currencies in the words of Unicode's CLDR
  (package babel), which writes each of the languages;
- `books`: Goethe, Austen, Voltaire, Dante, a Dutch reciter and Latin hymns, which music21 brings to tell languages
  apart;
- the training sentences and their translations of `fillets`, `tuxpaint`, `asterisk` and `synthetic_speech`, where their
  folders lie beside the root. Sentences that these hold out for validation or test are never spoken.

What is said, and how, is the same on every machine with the same sentences; the samples are not, as espeak-ng draws
some noise.

Layout below the root, made by `fetch`::

    labels.json                       {"wanted": how many were asked for, "clips": rows}
    audio/LANGUAGE/NUMBER_HASH.flac   16 kHz mono; the hash is that of what is said, and how
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from audio_ssl.data.corpus import (
    Corpus,
    Espeak,
    LeftOut,
    UserError,
    announce,
    atomic_write,
    hash_draw,
    hash_split,
    is_made,
    load_corpus,
    made_clips,
    optional_package,
    track,
    write_made,
)
from audio_ssl.data.manifest import Clip

_LANGUAGE_CODES = (
    "af az be bg bn bs ca cs cy da de el en eo es et eu fi fr ga gu hi hr hu hy id is it ka kk kn ko la lb lt lv mk ml "
    "mr ms mt nb ne nl pa pl pt ro ru sk sl sq sr sv sw ta te tr uk uz vi zh"
)

CORPUS = Corpus(
    name="synthetic_voices",
    title="Synthetic voices",
    description=(
        "Formant speech in more than fifty languages and some ninety voices at any pitch and pace, to pretrain on. "
        "Some languages are read badly, numbers are written in digits and spoken in words, and nobody speaks like "
        "this: not for evaluation. Genders are those that the files of voices declare, where they do."
    ),
    licence=(
        "no terms on the sound; espeak-ng, which makes it, is GPL-3.0-or-later; texts: Unicode-3.0 (CLDR), public "
        "domain (books), and those of fillets, tuxpaint and asterisk"
    ),
    citation=(
        "espeak-ng, Jonathan Duddington, Reece Dunn and others, https://github.com/espeak-ng/espeak-ng; Unicode CLDR "
        "in Babel, https://babel.pocoo.org; books of Project Gutenberg in music21, https://www.music21.org"
    ),
    size="40 MB of packages to download; 10000 clips, 20 h, 1.4 GB, made in two minutes on one core",
    layout="labels.json and audio/LANGUAGE/NUMBER_HASH.flac, as `fetch` makes them",
    splits={
        "train": "about 98 % of the clips, by a hash of the text",
        "valid": "about 2 %, for the loss of a pretraining; voices and sentences are those of train",
    },
    languages=tuple(_LANGUAGE_CODES.split()),
    labels=("text", "language", "speaker", "gender", "accent", "source", "words_per_minute", "pitch", "pitch_range"),
    made=True,
    requires=("pip:espeakng-loader", "pip:babel", "pip:music21"),
)

SOURCES = ("fillets", "tuxpaint", "asterisk", "synthetic_speech")
"""Corpora whose training sentences are spoken where they lie beside the root."""

_SHARES = {
    **dict.fromkeys(CORPUS.languages, 1),
    **dict.fromkeys(("be", "bg", "ca", "da", "el", "pl", "pt", "ro", "ru", "sv"), 4),
    "it": 10,
    "nl": 10,
    "la": 3,
    **dict.fromkeys(("cs", "de", "en", "es", "fr"), 22),
}
_LANGUAGES = tuple(language for language, share in _SHARES.items() for _ in range(share))

ACCENTS: dict[str, tuple[str, ...]] = {
    "ca": ("ca", "ca-ba", "ca-nw", "ca-va"),
    "en": ("en", "en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    "es": ("es", "es-419"),
    "fr": ("fr", "fr-be", "fr-ch"),
    "hy": ("hy", "hyw"),
    "pt": ("pt", "pt-br"),
    "vi": ("vi", "vi-vn-x-central", "vi-vn-x-south"),
    "zh": ("cmn",),
}
"""Language -> the library's voices of it; where it is not named there is one, of the same name."""

SAMPLE_RATE = 16000
"""Of the files: a formant voice has little above 8 kHz, and they are a third smaller."""

_BOOKS = ("de", "en", "fr", "it", "la", "nl")
_ROBOTS = re.compile(r"robo|Robot|Demonic|Tweaky|\s")
"""Voices that are effects, and names that the library does not take."""

_WEIGHTS = {"names": 3, "books": 4, "fillets": 4}
"""Source -> how often, against once of the others: their sentences are few or alike."""

_FEWEST_CHARACTERS, _MOST_CHARACTERS = 30, 140
_LONGEST_SENTENCE = 250
_MEASURES = {
    "area": "square-kilometer hectare",
    "duration": "century month week day hour minute second",
    "energy": "kilocalorie",
    "frequency": "megahertz",
    "length": "kilometer meter centimeter mile light-year nautical-mile",
    "mass": "kilogram gram tonne ounce",
    "power": "kilowatt horsepower",
    "speed": "kilometer-per-hour meter-per-second",
    "temperature": "celsius",
    "volume": "liter cubic-meter teaspoon cup milliliter",
}
_UNITS = [f"{kind}-{unit}" for kind, units in _MEASURES.items() for unit in units.split()]

logger = logging.getLogger(__name__)

Sentences = Mapping[str, Mapping[str, Sequence[str]]]
"""Language -> source -> what it says."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an utterance.

    Raises
    ------
    UserError
        If nothing has been synthesised below `root`.
    """
    for clip, row in made_clips(root, CORPUS, split, left_out):
        yield replace(
            clip,
            text=row["text"],
            language=row["language"],
            speaker=row["speaker"],
            gender=row["gender"],
            extra={key: row[key] for key in CORPUS.labels[4:]},
        )


def fetch(root: Path, clips: int = 10000) -> None:
    """Synthesise the clips; those that are there already stay.

    Parameters
    ----------
    root
        Folder for the corpus; `SOURCES` are looked for beside it.
    clips
        How many, of seven seconds on average. More of them begin with the same ones.

    Raises
    ------
    UserError
        If `clips` is not positive, a package is not installed or its library does not start.
    """
    if clips < 1:
        raise UserError(f"`clips` must be at least 1, but is {clips}")
    if is_made(root, clips):
        return
    announce(CORPUS, root)
    loader = optional_package("espeakng_loader", CORPUS)
    data = Path(loader.get_data_path())
    sentences, voices = _sentences(root.parent), _voices(data / "voices" / "!v")
    espeak = Espeak(str(loader.get_library_path()), str(data))
    rows = []
    for number in track(range(clips), "synthesise speech"):
        row = _row(number, sentences, voices)
        path = root / "audio" / f"{row['name']}.flac"
        if not path.is_file():
            settings = (row["words_per_minute"], row["pitch"], row["pitch_range"])
            said = espeak.speak(row["text"], row["accent"], row["speaker"], *settings)
            samples = soxr.resample(said.samples, espeak.sample_rate, SAMPLE_RATE)
            with atomic_write(path) as partial:
                soundfile.write(partial, np.asarray(samples), SAMPLE_RATE, format="FLAC", compression_level=0.3)
        rows.append(row)
    write_made(root, clips, rows)


def _row(number: int, sentences: Sentences, voices: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what clip `number` says, and how."""

    def draw(what: str, choices: int) -> int:
        return hash_draw(f"{CORPUS.name}/{what}/{number}", choices)

    language = _LANGUAGES[draw("language", len(_LANGUAGES))]
    sources = [source for source in ("names", *sentences.get(language, {})) for _ in range(_WEIGHTS.get(source, 1))]
    source = sources[draw("source", len(sources))]
    length = _FEWEST_CHARACTERS + draw("length", _MOST_CHARACTERS - _FEWEST_CHARACTERS)
    if source == "names":
        text = _joined(_names(language, draw), length)
    else:
        text = _joined(_following(sentences[language][source], draw, source == "books"), length)
    accents = ACCENTS.get(language, (language,))
    speaker = list(voices)[draw("voice", len(voices))]
    how = {
        "language": language,
        "accent": accents[draw("accent", len(accents))],
        "speaker": speaker,
        "words_per_minute": 120 + draw("rate", 101),
        "pitch": 25 + draw("pitch", 51),
        "pitch_range": 20 + draw("range", 71),
        "text": text,
    }
    name = hashlib.sha256("/".join(map(str, how.values())).encode()).hexdigest()[:8]
    split = hash_split(CORPUS.name, text, valid=0.02, test=0.0)
    return {
        "name": f"{language}/{number:06d}_{name}",
        **how,
        "source": source,
        "gender": voices[speaker],
        "split": split,
    }


Draw = Callable[[str, int], int]


def _joined(sentences: Iterator[str], characters: int) -> str:
    """Return sentences one after another, until they are as long to hear as so many letters."""
    text = ""
    for sentence in sentences:
        text = f"{text} {sentence}".strip()
        text = text if text[-1] in ".!?…:;,。।)" else f"{text}."
        if _letters_heard(text) >= characters:
            break
    return text


def _letters_heard(text: str) -> int:
    """Return the length of a text in letters of an alphabet: digits are words, Chinese and Korean signs syllables."""
    return sum(6 if letter.isdigit() else 4 if letter >= "\u3040" else 1 for letter in text)


def _following(sentences: Sequence[str], draw: Draw, in_order: bool) -> Iterator[str]:
    """Yield sentences from a drawn one on, in the order of a book, or drawn one by one; at most twenty."""
    first = draw("sentence", len(sentences))
    for step in range(20):
        place = first + step if in_order else draw(f"sentence/{step}", len(sentences))
        # A telephone's menu of a minute is a sentence, too.
        if len(sentence := sentences[place % len(sentences)]) <= _LONGEST_SENTENCE:
            yield sentence


def _names(language: str, draw: Draw) -> Iterator[str]:
    """Yield dates, times, measures, amounts of money and lists of names in the words of a language."""
    dates, lists, numbers, units = (
        optional_package(f"babel.{name}", CORPUS) for name in ("dates", "lists", "numbers", "units")
    )
    locale, names, currencies = _locale(language)
    for step in range(20):

        def one(what: str, choices: int, step: int = step) -> int:
            return draw(f"{what}/{step}", choices)

        moment = datetime.datetime(1900, 1, 1) + datetime.timedelta(minutes=one("moment", 105_000_000))
        kind = one("kind", 5)
        if kind == 0:
            yield dates.format_date(moment, "full", locale=locale)
        elif kind == 1:
            yield dates.format_time(moment, "short", locale=locale)
        elif kind == 2:
            unit = _UNITS[one("unit", len(_UNITS))]
            measure = units.format_unit(2 + one("count", 998), unit, locale=locale)
            # Where a language has no word the name of the unit stands in its place.
            yield from [] if unit in measure else [measure]
        elif kind == 3:
            amount = one("amount", 50_000) / 100
            code = currencies[one("currency", len(currencies))]
            yield numbers.format_currency(amount, code, locale=locale, format_type="name")
        else:
            some = [names[one(f"name{index}", len(names))] for index in range(1 + one("list", 4))]
            yield lists.format_list(some, locale=locale)


@functools.cache
def _locale(language: str) -> tuple[Any, list[str], list[str]]:
    """Return CLDR's locale of a language, its names of places and languages, and the codes of currencies it names."""
    # CLDR has next to no Latin.
    locale = optional_package("babel", CORPUS).Locale.parse("it" if language == "la" else language)
    cities = [zone.get("city") for zone in locale.time_zones.values()]
    some = [*locale.territories.values(), *locale.languages.values(), *cities]
    currencies = sorted(code for code, name in locale.currencies.items() if re.fullmatch(r"[^\d()]{4,}", name))
    return locale, [name for name in some if name and not re.search(r"[\d()\[\]]", name)], currencies


def _voices(folder: Path) -> dict[str, str | None]:
    """Return variant -> the gender that its file declares."""
    voices: dict[str, str | None] = {}
    for path in sorted(folder.iterdir()):
        if not _ROBOTS.search(path.name):
            declared = re.search(r"(?im)^gender\s+(male|female)", path.read_text(encoding="utf-8", errors="replace"))
            voices[path.name] = {"f": "F", "m": "M"}[declared[1][0].lower()] if declared else None
    return voices


def _sentences(beside: Path) -> dict[str, dict[str, list[str]]]:
    """Return what can be said besides names: by language and source, without what any source holds out."""
    music21 = optional_package("music21", CORPUS)
    books = Path(music21.__file__).parent / "languageExcerpts" / "trainingData"
    found: dict[str, dict[str, list[str]]] = {}
    for language in _BOOKS:
        path = books / f"{language}.txt"
        if path.is_file():
            found[language] = {"books": _of_book(path.read_text(encoding="utf-8"))}
        else:
            logger.warning("%s: this version of music21 has no text in `%s`", CORPUS.name, language)
    held_out: set[str] = set()
    for source in SOURCES:
        try:
            clips = list(load_corpus(source).read(beside / source))
        except UserError as error:
            logger.warning("%s: goes without the sentences of `%s`: %s", CORPUS.name, source, error.what)
            continue
        for clip in clips:
            for language, text in _texts(clip):
                if clip.split != "train":
                    held_out.add(_letters(text))
                elif language in CORPUS.languages:
                    found.setdefault(language, {}).setdefault(source, []).append(text)
    return {
        language: {
            source: kept
            for source, texts in sources.items()
            if (kept := [text for text in dict.fromkeys(texts) if _letters(text) not in held_out])
        }
        for language, sources in found.items()
    }


def _texts(clip: Clip) -> Iterator[tuple[str, str]]:
    """Yield what a clip says, and its translations, each with the language."""
    texts: dict[str | None, object] = {"en": clip.translation}
    texts |= {key[-2:]: text for key, text in clip.extra.items() if re.fullmatch(r"translation_\w\w", key)}
    texts |= {clip.language: clip.text}
    for language, text in texts.items():
        if language and isinstance(text, str) and re.search(r"\w", text):
            yield language, " ".join(text.split())


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _of_book(text: str) -> list[str]:
    """Return the sentences of a book: paragraphs of prose or verse, without headings, notes and what encloses it."""
    sentences = []
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(re.sub(r"\[\w+\]|[_=*]", "", paragraph).split())
        if re.search(r"gutenberg|gallica|www|\[|\d{3}", flat, re.I) or flat.upper() == flat:
            continue
        for sentence in re.split(r"(?<=[.!?;])\s+", flat):
            if 15 <= len(sentence) <= 200 and re.search(r"[^\W\d_]{3}", sentence):
                sentences.append(sentence)
    return sentences
