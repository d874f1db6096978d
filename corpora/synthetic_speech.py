"""Synthetic speech: short parallel sentences in five languages, spoken by espeak-ng from pip alone.

Sentences come from four templates whose slots hold phrases already inflected, so transcript and English translation are
exact in German, French, Spanish, Czech and English. Twelve formant voices, six declared female and six declared male by
espeak-ng's own variant files, speak them, each in every language. It is the only corpus made from packages with five
speakers per gender, but no substitute for people: it shows that a pipeline runs, not how a model treats people.

The package espeakng-loader brings the library and its data (Duddington and others, espeak-ng 1.52); nothing else is
downloaded. The synthesiser also says when each phone and word is spoken: `phone_times` (IPA without stress) and
`word_times`. Which sentence, voice and rate a clip gets is decided by a hash.

Layout below the root, made by `fetch`::

    labels.json                     {"wanted": how many were asked for, "clips": rows}
    audio/LANGUAGE/NUMBER_VOICE.flac    22.05 kHz mono
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile

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
    made_clips,
    optional_package,
    read_made,
    track,
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
    labels=("text", "translation", "language", "speaker", "gender", "template", "phone_times", "word_times"),
    made=True,
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


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a spoken sentence.

    Raises
    ------
    UserError
        If nothing has been synthesised below `root`.
    """
    for clip, row in made_clips(root, CORPUS, split, left_out):
        yield replace(
            clip,
            text=row["text"],
            translation=row["translation"],
            language=row["language"],
            speaker=row["speaker"],
            gender=VOICES[row["speaker"]],
            extra={key: row[key] for key in ("template", "phone_times", "word_times") if key in row},
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
    # Labels of an older version lack the times; the audio is the same.
    if is_made(root, clips) and all("phone_times" in row for row in read_made(root, CORPUS)):
        return
    announce(CORPUS, root)
    loader = optional_package("espeakng_loader", CORPUS)
    espeak = Espeak(str(loader.get_library_path()), str(loader.get_data_path()))
    rows = []
    for row in track(_rows(clips), "synthesise speech"):
        path = root / "audio" / f"{row['name']}.flac"
        said = espeak.speak(row["text"], row["language"], row["speaker"], row["words_per_minute"])
        if not path.is_file():
            with atomic_write(path) as partial:
                soundfile.write(partial, said.samples, espeak.sample_rate, format="FLAC")
        rows.append({**row, "phone_times": _column(said.phones), "word_times": _column(said.words)})
    write_made(root, clips, rows)


def _column(spans: Sequence[tuple[float, float, str]]) -> str:
    return "; ".join(f"{start:.4f} {end:.4f} {label}" for start, end, label in spans)


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
            voice = list(VOICES)[hash_draw(f"voice/{language}/{number}", len(VOICES))]
            rows.append(
                {
                    "name": f"{language}/{number:05d}_{voice}",
                    "text": texts[language],
                    "translation": texts["en"],
                    "language": language,
                    "speaker": voice,
                    "words_per_minute": 140 + hash_draw(f"rate/{language}/{number}", 41),
                    "split": hash_split(CORPUS.name, texts["en"]),
                    "template": template,
                }
            )
    return rows


def _sentence(template: str, number: int) -> dict[str, str]:
    sentences, slots = TEMPLATES[template]
    filled = {slot: SLOTS[slot][hash_draw(f"{slot}/{number}", len(SLOTS[slot]))].split("|") for slot in slots}
    return {
        language: sentence.format(**{slot: words[column] for slot, words in filled.items()})
        for column, (language, sentence) in enumerate(zip(_LANGUAGES, sentences.split("|"), strict=True))
    }
