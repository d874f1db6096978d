"""Asterisk prompts: the announcements of a telephone exchange, recorded by professional speakers in five languages.

The same prompt has the same name in every language, so the English text is its translation. The sound is 16 kHz g722, a
wideband telephone codec, decoded by PyAV. Debian packages asterisk-core-sounds-XX (transcripts) and -XX-g722 (sound),
made by Digium and the voices named below, https://www.asterisk.org.

Layout below the root::

    asterisk-core-sounds-XX/usr/share/doc/asterisk-core-sounds-XX/core-sounds-XX.txt.gz    `prompt: text` lines
    asterisk-core-sounds-XX-g722/usr/share/asterisk/sounds/VOICE/**/PROMPT.g722

Left out: prompts without a text, tones, noises and silence (their text is in brackets, or too long for the clip), and
texts with a word in brackets, which may or may not be spoken.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    announce,
    check_split,
    fetch_apt,
    hash_split,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="asterisk",
    title="Asterisk prompts",
    description=(
        "Prompts of a telephone exchange in English, Spanish, French, Italian and Russian with transcripts; the "
        "English text of the same prompt is the translation. One voice a language (English and Spanish share theirs): "
        "gender, speaker and language cannot be told apart."
    ),
    licence="CC-BY-SA-3.0 (en, es, fr), CC-BY-3.0 (it, ru)",
    citation=(
        "Asterisk core sounds 1.6.1, Digium, Inc.; voices Allison Smith (en, es), June Wallack (fr), Carlo Flora (it), "
        "ivrvoice.ru (ru). https://www.asterisk.org"
    ),
    size="55 MB to download; 2642 clips, 120 min: it 559, ru 553, en 549, fr 505, es 476",
    layout="asterisk-core-sounds-XX and asterisk-core-sounds-XX-g722 for XX in en es fr it ru; en, and any others",
    splits={
        "train": "about 80 % of the prompts, by a hash of the prompt's name; all languages of a prompt go together",
        "valid": "about 10 % of the prompts",
        "test": "about 10 % of the prompts",
    },
    languages=("en", "es", "fr", "it", "ru"),
    labels=("text", "translation", "language", "speaker", "gender", "prompt"),
    requires=("apt", "pip:av"),
)

VOICES = {
    "en": ("allison_smith", "F"),
    "es": ("allison_smith", "F"),
    "fr": ("june_wallack", "F"),
    "it": ("carlo_flora", "M"),
    "ru": ("ivrvoice_ru", "F"),
}
"""Language -> speaker and gender."""


# Tones described without brackets and two texts that run into the next are above this; speech stays below.
_MOST_CHARACTERS_A_SECOND = 28.0


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a prompt and language.

    Raises
    ------
    UserError
        If no language's packages are below `root`, or the English transcripts are missing.
    """
    check_split(CORPUS, split)
    transcripts = {language: _transcripts(root, language) for language in CORPUS.languages}
    if not transcripts["en"]:
        raise UserError(
            f"the English transcripts of {CORPUS.title} were expected here",
            where=str(_transcript_path(root, "en")),
            remedy=f"`audio-ssl manifest {CORPUS.name} --fetch --out {CORPUS.name}.jsonl` fetches it; "
            f"layout: {CORPUS.layout}",
        )
    for language in CORPUS.languages:
        for voice in sorted((root / f"asterisk-core-sounds-{language}-g722/usr/share/asterisk/sounds").glob("*")):
            for path in sorted(voice.rglob("*.g722")):
                prompt = path.relative_to(voice).with_suffix("").as_posix()
                part = hash_split(CORPUS.name, prompt)
                if split in (None, part):
                    yield from _clip(path, prompt, language, part, transcripts, left_out)


def fetch(root: Path, languages: Sequence[str] = CORPUS.languages) -> None:
    """Download and unpack the packages; what is there already stays.

    Parameters
    ----------
    root
        Folder for the corpus.
    languages
        Which of the five; English is needed for the translations.
    """
    announce(CORPUS, root)
    fetch_apt([f"asterisk-core-sounds-{language}{kind}" for language in languages for kind in ("", "-g722")], root)


def _clip(
    path: Path, prompt: str, language: str, part: str, transcripts: dict[str, dict[str, str]], left_out: LeftOut
) -> Iterator[Clip]:
    text = transcripts[language].get(prompt)
    if not text:
        left_out.add(path, "without a transcript of speech")
        return
    if (clip := usable_file(path, f"{language}/{prompt}", left_out)) is None:
        return
    if len(text) / clip.seconds > _MOST_CHARACTERS_A_SECOND:
        left_out.add(path, "whose length does not fit the text")
        return
    speaker, gender = VOICES[language]
    yield replace(
        clip,
        text=text,
        translation=transcripts["en"].get(prompt),
        language=language,
        speaker=speaker,
        gender=gender,
        split=part,
        extra={"prompt": prompt},
    )


def _transcript_path(root: Path, language: str) -> Path:
    package = f"asterisk-core-sounds-{language}"
    return root / package / "usr/share/doc" / package / f"core-sounds-{language}.txt.gz"


def _transcripts(root: Path, language: str) -> dict[str, str]:
    """Return prompt -> text; empty where the package is not there."""
    path = _transcript_path(root, language)
    if not path.is_file():
        return {}
    # The Italian file begins with a byte-order mark.
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8-sig", "replace").splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"the transcripts cannot be unpacked: {error}", where=str(path)) from error
    pairs = (line.partition(":") for line in lines if not line.startswith(";"))
    texts = {prompt.strip(): _clean(text) for prompt, found, text in pairs if found}
    return {prompt: text for prompt, text in texts.items() if text}


def _clean(text: str) -> str:
    """Return what is spoken, or nothing where that is not sure: "dash [-]" is "dash", "[beep]" is no speech."""
    text = re.sub(r"\[[^\w\]]*\]", "", text)
    return "" if re.search(r"[\[(<]", text) else re.sub(r"\s+", " ", text).strip(' “”"')
