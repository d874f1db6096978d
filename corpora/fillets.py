"""Fish Fillets dialogue: acted Czech and Dutch lines of a puzzle game, with transcripts and translations.

Two fish comment on each level: the small one has a woman's voice, the big one a man's; in Czech some three dozen other
characters speak a few lines each. Every line has its transcript, the English text it goes with, and translations into
up to nine more languages. Debian packages fillets-ng-data, -cs and -nl; the game is Fish Fillets NG (ALTAR interactive
1998, Ivo Danihelka and others 2004), https://fillets.sourceforge.net.

Layout below the root (one folder a package)::

    fillets-ng-data/usr/share/games/fillets-ng/script/LEVEL/dialogs_XX.lua
    fillets-ng-data-{cs,nl}/usr/share/games/fillets-ng/sound/LEVEL/{cs,nl}/LINE.ogg

Left out: lines without text, with a number the game fills in (%1), with letters of another script, and clips without
samples. Sung, whispered and shouted lines stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    annotation_text,
    announce,
    check_split,
    fetch_apt,
    hash_split,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="fillets",
    title="Fish Fillets dialogue",
    description=(
        "Acted Czech and Dutch speech with transcripts and translations. Each language has one voice a gender: gender "
        "and speaker cannot be told apart, so gaps are to be described, not tested. The other characters' gender is "
        "not recorded."
    ),
    licence="GPL-2.0-only",
    citation=(
        "Fish Fillets NG, ALTAR interactive, Ivo Danihelka, Pavel Danihelka and translators, 1998-2009. "
        "https://fillets.sourceforge.net"
    ),
    size="142 MB to download; 3416 clips, 200 min: cs 1803 (779 F, 738 M), nl 1613 (827 F, 786 M)",
    layout=(
        "fillets-ng-data/usr/share/games/fillets-ng/script and fillets-ng-data-{cs,nl}/usr/share/games/fillets-ng/sound"
    ),
    splits={
        "train": "about 80 % of the levels, by a hash of the level's name; both languages of a level go together",
        "valid": "about 10 % of the levels; the two fish speak in all three splits",
        "test": "about 10 % of the levels",
    },
    languages=("cs", "nl"),
    labels=("text", "translation", "language", "speaker", "gender", "level", "line", "translation_XX"),
    requires=("apt",),
)

PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs", "fillets-ng-data-nl")
TRANSLATIONS = ("bg", "cs", "de", "es", "fr", "it", "nl", "pl", "ru", "sv")

_GAME = Path("usr/share/games/fillets-ng")
_FISH = {"font_small": ("small", "F"), "font_big": ("big", "M")}
# A line names its subtitle's font, which is its character; colours stand for another character in each level.
_COLOURS = frozenset({"brown", "cyan", "darkgrey", "green", "lightgrey", "magenta", "white", "yellow"})
_STRING = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rf"dialogId\(\s*{_STRING}\s*,\s*{_STRING}\s*,\s*{_STRING}\s*\)(?:\s*dialogStr\(\s*{_STRING}\s*\))?")
_OTHER_SCRIPT = re.compile(r"[Ѐ-ӿ]")

Script = dict[tuple[str, str], tuple[str, str, str]]
"""Of a language: (level, line) -> font, English text, text."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a spoken line, Czech first.

    Raises
    ------
    UserError
        If the unpacked packages are not below `root`.
    """
    check_split(CORPUS, split)
    scripts = require_folder(root / PACKAGES[0] / _GAME / "script", CORPUS)
    translations = {language: _read_script(scripts, language, left_out) for language in TRANSLATIONS}
    for language in CORPUS.languages:
        sounds = require_folder(root / f"fillets-ng-data-{language}" / _GAME / "sound", CORPUS)
        for path in sorted(sounds.glob(f"**/{language}/*.ogg")):
            clip = _clip(path, path.relative_to(sounds).parts[0], language, translations, left_out)
            if clip is not None and split in (None, clip.split):
                yield clip


def fetch(root: Path) -> None:
    """Download and unpack the packages; what is there already stays."""
    announce(CORPUS, root)
    fetch_apt(PACKAGES, root)


def _clip(path: Path, folder: str, language: str, translations: dict[str, Script], left_out: LeftOut) -> Clip | None:
    key = (folder, path.stem)
    font, english, text = translations[language].get(key, ("", "", ""))
    if not text or "%" in text or _OTHER_SCRIPT.search(text):
        left_out.add(path, "without a transcript that can be used")
        return None
    # Jokes told in any level lie together in folders of their own.
    level = path.parent.parent.name
    if (clip := usable_file(path, f"{language}/{level}/{path.stem}", left_out)) is None:
        return None
    character, gender = _FISH.get(font, (_character(font, level), None))
    others = {f"translation_{other}": script[key][2] for other, script in translations.items() if key in script}
    return replace(
        clip,
        text=text,
        translation=english,
        language=language,
        speaker=f"{language}_{character}",
        gender=gender,
        split=hash_split(CORPUS.name, level),
        extra={"level": level, "line": path.stem, **{k: v for k, v in others.items() if v and k[-2:] != language}},
    )


def _character(font: str, level: str) -> str:
    name = font.removeprefix("font_")
    return f"{level}_{name}" if name in _COLOURS else name


def _read_script(scripts: Path, language: str, left_out: LeftOut) -> Script:
    lines: Script = {}
    for path in sorted(scripts.glob(f"*/*dialogs_{language}.lua")):
        try:
            script = annotation_text(path)
        except AudioError as error:
            left_out.add(path, error.reason)
            continue
        for line, font, english, text in _LINE.findall(script):
            lines[path.parent.name, line] = (font, _unescape(english), _unescape(text))
    return lines


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).strip()
