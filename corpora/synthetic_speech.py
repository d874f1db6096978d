"""Synthetic speech: short parallel sentences in five languages, spoken by espeak-ng from pip alone.

Sentences come from four templates whose slots hold phrases already inflected, so transcript and English translation are
exact in German, French, Spanish, Czech and English. Twelve formant voices, six declared female and six declared male by
espeak-ng's own variant files, speak them, each in every language. That makes it the one corpus made from packages with
five speakers a gender, and a poor stand-in for people: it shows that a pipeline runs, not how a model treats anyone.

The package espeakng-loader brings the library and its data (Duddington and others, espeak-ng 1.52); nothing else is
downloaded. Which sentence, voice and rate a clip gets is decided by a hash.

Layout below the root, made by `fetch`::

    labels.json                     {"wanted": how many were asked for, "clips": rows}
    audio/LANGUAGE/NUMBER_VOICE.flac    22.05 kHz mono
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    UserError,
    announce,
    atomic_write,
    check_split,
    hash_split,
    is_made,
    optional_package,
    read_made,
    track,
    whole_file,
    write_made,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="synthetic_speech",
    title="Synthetic speech",
    description=(
        "Template sentences spoken by a formant synthesiser, with exact transcripts and translations and twelve "
        "voices. For trying speech probes and fairness reports where nothing can be downloaded. The genders are "
        "properties of synthetic voices: gaps between them say nothing about people."
    ),
    licence="no terms on the sound; espeak-ng, which makes it, is GPL-3.0-or-later",
    citation="espeak-ng, Jonathan Duddington, Reece Dunn and others, https://github.com/espeak-ng/espeak-ng",
    size="10 MB of package to download; 1000 clips, 36 min, 58 MB, made in some ten seconds on one core",
    layout="labels.json and audio/LANGUAGE/NUMBER_VOICE.flac, as `fetch` makes them",
    splits={
        "train": "about 80 % of the sentences, by a hash of the English text; all languages of a sentence go together",
        "valid": "about 10 % of the sentences; all voices speak in all splits",
        "test": "about 10 % of the sentences",
    },
    languages=("cs", "de", "en", "es", "fr"),
    labels=("text", "translation", "language", "speaker", "gender", "template"),
    requires=("pip:espeakng-loader",),
)

VOICES = {
    "f1": "F",
    "f2": "F",
    "f3": "F",
    "f4": "F",
    "f5": "F",
    "Annie": "F",
    "m1": "M",
    "m2": "M",
    "m3": "M",
    "m4": "M",
    "m6": "M",
    "m7": "M",
}
"""espeak-ng variant -> the gender its file declares."""

# The templates give some nine thousand different sentences; drawing gets slow before they are used up.
_MOST_CLIPS = 20000

# Columns: English | German | French | Spanish | Czech.
_LANGUAGES = ("en", "de", "fr", "es", "cs")

TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "place": (
        "{who} {does} in the {where} {when}.|{who} {does} {when} {where}.|{who} {does} {where} {when}."
        "|{who} {does} {where} {when}.|{who} {when} {does} {where}.",
        ("who", "does", "where", "when"),
    ),
    "train": (
        "The {vehicle} to {city} leaves {day} at {hour}.|Der {vehicle} nach {city} fährt {day} um {hour} ab."
        "|Le {vehicle} pour {city} part {day} à {hour}.|El {vehicle} a {city} sale {day} a {hour}."
        "|{vehicle} do {city} odjíždí {day} {hour}.",
        ("vehicle", "city", "day", "hour"),
    ),
    "digits": (
        "The {number} is {d1} {d2} {d3}.|Die {number} ist {d1} {d2} {d3}.|Le numéro {number} est {d1} {d2} {d3}."
        "|El número {number} es {d1} {d2} {d3}.|Číslo {number} je {d1} {d2} {d3}.",
        ("number", "d1", "d2", "d3"),
    ),
    "shop": (
        "{name} {buys} {count} {things}.|{name} {buys} {count} {things}.|{name} {buys} {count} {things}."
        "|{name} {buys} {count} {things}.|{name} {buys} {count} {things}.",
        ("name", "buys", "count", "things"),
    ),
}
"""Name -> the sentence in each language, and its slots."""

_DIGITS = (
    "zero|null|zéro|cero|nula",
    "one|eins|un|uno|jedna",
    "two|zwei|deux|dos|dva",
    "three|drei|trois|tres|tři",
    "four|vier|quatre|cuatro|čtyři",
    "five|fünf|cinq|cinco|pět",
    "six|sechs|six|seis|šest",
    "seven|sieben|sept|siete|sedm",
    "eight|acht|huit|ocho|osm",
    "nine|neun|neuf|nueve|devět",
)

SLOTS: dict[str, tuple[str, ...]] = {
    "who": (
        "The dog|Der Hund|Le chien|El perro|Pes",
        "The cat|Die Katze|Le chat|El gato|Kočka",
        "The child|Das Kind|L'enfant|El niño|Dítě",
        "My brother|Mein Bruder|Mon frère|Mi hermano|Můj bratr",
        "My sister|Meine Schwester|Ma sœur|Mi hermana|Moje sestra",
        "The teacher|Der Lehrer|Le professeur|El profesor|Učitel",
        "Our neighbour|Unser Nachbar|Notre voisin|Nuestro vecino|Náš soused",
        "The doctor|Die Ärztin|La docteure|La doctora|Lékařka",
        "The king|Der König|Le roi|El rey|Král",
        "Your friend|Deine Freundin|Ton amie|Tu amiga|Tvoje přítelkyně",
    ),
    "does": (
        "sleeps|schläft|dort|duerme|spí",
        "sings|singt|chante|canta|zpívá",
        "waits|wartet|attend|espera|čeká",
        "eats|isst|mange|come|jí",
        "works|arbeitet|travaille|trabaja|pracuje",
        "reads|liest|lit|lee|čte",
        "dances|tanzt|danse|baila|tančí",
        "runs|läuft|court|corre|běhá",
    ),
    "where": (
        "garden|im Garten|dans le jardin|en el jardín|v zahradě",
        "house|im Haus|dans la maison|en la casa|v domě",
        "kitchen|in der Küche|dans la cuisine|en la cocina|v kuchyni",
        "forest|im Wald|dans la forêt|en el bosque|v lese",
        "city|in der Stadt|dans la ville|en la ciudad|ve městě",
        "school|in der Schule|dans l'école|en la escuela|ve škole",
        "car|im Auto|dans la voiture|en el coche|v autě",
        "theatre|im Theater|dans le théâtre|en el teatro|v divadle",
    ),
    "when": (
        "today|heute|aujourd'hui|hoy|dnes",
        "every day|jeden Tag|tous les jours|todos los días|každý den",
        "every night|jede Nacht|toutes les nuits|todas las noches|každou noc",
        "in summer|im Sommer|en été|en verano|v létě",
        "in winter|im Winter|en hiver|en invierno|v zimě",
        "again|wieder|encore|otra vez|zase",
    ),
    "vehicle": ("train|Zug|train|tren|Vlak", "bus|Bus|bus|autobús|Autobus"),
    "city": (
        "Berlin|Berlin|Berlin|Berlín|Berlína",
        "Paris|Paris|Paris|París|Paříže",
        "Prague|Prag|Prague|Praga|Prahy",
        "Vienna|Wien|Vienne|Viena|Vídně",
        "Rome|Rom|Rome|Roma|Říma",
        "London|London|Londres|Londres|Londýna",
        "Madrid|Madrid|Madrid|Madrid|Madridu",
        "Warsaw|Warschau|Varsovie|Varsovia|Varšavy",
    ),
    "day": (
        "on Monday|am Montag|lundi|el lunes|v pondělí",
        "on Tuesday|am Dienstag|mardi|el martes|v úterý",
        "on Wednesday|am Mittwoch|mercredi|el miércoles|ve středu",
        "on Thursday|am Donnerstag|jeudi|el jueves|ve čtvrtek",
        "on Friday|am Freitag|vendredi|el viernes|v pátek",
        "on Saturday|am Samstag|samedi|el sábado|v sobotu",
        "on Sunday|am Sonntag|dimanche|el domingo|v neděli",
    ),
    "hour": (
        "two o'clock|zwei Uhr|deux heures|las dos|ve dvě hodiny",
        "three o'clock|drei Uhr|trois heures|las tres|ve tři hodiny",
        "four o'clock|vier Uhr|quatre heures|las cuatro|ve čtyři hodiny",
        "five o'clock|fünf Uhr|cinq heures|las cinco|v pět hodin",
        "six o'clock|sechs Uhr|six heures|las seis|v šest hodin",
        "seven o'clock|sieben Uhr|sept heures|las siete|v sedm hodin",
        "eight o'clock|acht Uhr|huit heures|las ocho|v osm hodin",
        "nine o'clock|neun Uhr|neuf heures|las nueve|v devět hodin",
        "ten o'clock|zehn Uhr|dix heures|las diez|v deset hodin",
    ),
    "number": (
        "room number|Zimmernummer|de la chambre|de la habitación|pokoje",
        "phone number|Telefonnummer|de téléphone|de teléfono|telefonu",
        "house number|Hausnummer|de la maison|de la casa|domu",
    ),
    "d1": _DIGITS,
    "d2": _DIGITS,
    "d3": _DIGITS,
    "name": tuple("|".join([n] * 5) for n in ("Anna", "Eva", "Laura", "Marta", "David", "Martin", "Robert", "Simon")),
    "buys": (
        "buys|kauft|achète|compra|kupuje",
        "sees|sieht|voit|ve|vidí",
        "counts|zählt|compte|cuenta|počítá",
        "wants|möchte|veut|quiere|chce",
    ),
    # From five on, Czech counts in the genitive plural whatever the number.
    "count": (
        "five|fünf|cinq|cinco|pět",
        "six|sechs|six|seis|šest",
        "seven|sieben|sept|siete|sedm",
        "eight|acht|huit|ocho|osm",
        "nine|neun|neuf|nueve|devět",
        "ten|zehn|dix|diez|deset",
    ),
    "things": (
        "apples|Äpfel|pommes|manzanas|jablek",
        "books|Bücher|livres|libros|knih",
        "flowers|Blumen|fleurs|flores|květin",
        "chairs|Stühle|chaises|sillas|židlí",
        "bottles|Flaschen|bouteilles|botellas|lahví",
        "eggs|Eier|œufs|huevos|vajec",
        "pictures|Bilder|tableaux|cuadros|obrazů",
        "letters|Briefe|lettres|cartas|dopisů",
    ),
}
"""Slot -> what may stand in it, in the languages' order."""


def read(root: Path, split: str | None = None) -> Iterator[Clip]:
    """Yield one clip a spoken sentence.

    Raises
    ------
    UserError
        If nothing has been synthesised below `root`.
    """
    check_split(CORPUS, split)
    for row in read_made(root, CORPUS):
        if split in (None, row["split"]):
            clip = whole_file(root / "audio" / f"{row['name']}.flac", row["name"])
            yield replace(
                clip,
                text=row["text"],
                translation=row["translation"],
                language=row["language"],
                speaker=row["speaker"],
                gender=VOICES[row["speaker"]],
                split=row["split"],
                extra={"template": row["template"]},
            )


def fetch(root: Path, clips: int = 1000) -> None:
    """Synthesise the clips; those that are there already stay.

    Parameters
    ----------
    root
        Folder for the corpus.
    clips
        How many over all five languages, at most 20000.

    Raises
    ------
    UserError
        If `clips` is out of range, espeakng_loader is not installed or its library does not start.
    """
    if not 0 < clips <= _MOST_CLIPS:
        raise UserError(f"`clips` must be from 1 to {_MOST_CLIPS}, but is {clips}")
    if is_made(root, clips):
        return
    announce(CORPUS, root)
    espeak = _Espeak()
    rows = _rows(clips)
    for row in track(rows, "synthesise speech"):
        path = root / "audio" / f"{row['name']}.flac"
        if not path.is_file():
            samples = espeak.speak(row["text"], row["language"], row["speaker"], row["words_per_minute"])
            with atomic_write(path) as partial:
                soundfile.write(partial, samples, espeak.sample_rate, format="FLAC")
    write_made(root, clips, rows)


def _rows(clips: int) -> list[dict[str, Any]]:
    """Return what to say, in which language and voice; sentence after sentence, each in all languages."""
    rows: list[dict[str, Any]] = []
    said: set[str] = set()
    number = 0
    while len(rows) < clips:
        template = list(TEMPLATES)[number % len(TEMPLATES)]
        texts = _sentence(template, number)
        number += 1
        if texts["en"] in said:
            continue
        said.add(texts["en"])
        for language in CORPUS.languages[: clips - len(rows)]:
            voice = list(VOICES)[_draw(f"voice/{language}/{number}", len(VOICES))]
            rows.append(
                {
                    "name": f"{language}/{number:05d}_{voice}",
                    "text": texts[language],
                    "translation": texts["en"],
                    "language": language,
                    "speaker": voice,
                    "words_per_minute": 140 + _draw(f"rate/{language}/{number}", 41),
                    "split": hash_split(CORPUS.name, texts["en"]),
                    "template": template,
                }
            )
    return rows


def _sentence(template: str, number: int) -> dict[str, str]:
    sentences, slots = TEMPLATES[template]
    filled = {slot: SLOTS[slot][_draw(f"{slot}/{number}", len(SLOTS[slot]))].split("|") for slot in slots}
    return {
        language: sentence.format(**{slot: words[column] for slot, words in filled.items()})
        for column, (language, sentence) in enumerate(zip(_LANGUAGES, sentences.split("|"), strict=True))
    }


def _draw(what: str, choices: int) -> int:
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big") % choices


class _Espeak:
    """espeak-ng's C interface (speak_lib.h), as much of it as is needed to get samples."""

    _SYNCHRONOUS = 2
    _UTF8 = 1
    _RATE = 1

    def __init__(self) -> None:
        loader = optional_package("espeakng_loader", CORPUS)
        self._library = ctypes.CDLL(str(loader.get_library_path()))
        data = str(loader.get_data_path()).encode()
        self.sample_rate: int = self._library.espeak_Initialize(self._SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise UserError("espeak-ng does not start", where=data.decode(), remedy="reinstall espeakng-loader")
        self._blocks: list[bytes] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        # The library keeps only the pointer; the object must outlive it.
        self._callback = kind(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, language: str, voice: str, words_per_minute: int) -> npt.NDArray[np.int16]:
        """Return the samples of one utterance."""
        self._blocks.clear()
        if self._library.espeak_SetVoiceByName(f"{language}+{voice}".encode()) != 0:
            raise UserError(f"espeak-ng has no voice `{language}+{voice}`", remedy="reinstall espeakng-loader")
        self._library.espeak_SetParameter(self._RATE, words_per_minute, 0)
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, self._UTF8, None, None)
        return np.frombuffer(b"".join(self._blocks), np.int16)

    def _receive(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        return 0
