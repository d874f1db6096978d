"""Game music: soundtracks of six free games, orchestral to electronic, cut into spans of at most 30 s.

Which game a piece belongs to is a fair stand-in for its style: orchestral (wesnoth), synthesiser ambient
(singularity, warzone2100), techno and rock (nexuiz), film-like electronic (ufoai), chamber-like and ambient
(hyperrogue). Artists are named where the file names them. Debian packages; the games' sites are in the citation.

Layout below the root (one folder a package, any number of the six)::

    hyperrogue-music/usr/share/hyperrogue/music/*.ogg
    singularity-music/usr/share/games/singularity/music/**/*.ogg
    nexuiz-music/unzipped/sound/cdtracks/*.ogg            out of usr/share/games/nexuiz/data/music.pk3
    warzone2100-music/usr/share/games/warzone2100/music/**/*.opus
    wesnoth-1.16-music/usr/share/games/wesnoth/1.16/data/core/music/*.ogg
    ufoai-music/unzipped/music/*.ogg                      out of usr/share/games/ufoai/base/0music.pk3

Left out: Wesnoth's ten seconds of silence, and the games' sound effects.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    announce,
    check_split,
    even_split,
    fetch_apt,
    usable_file,
    writing,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="game_music",
    title="Game music",
    description=(
        "Soundtracks of Battle for Wesnoth, UFO: Alien Invasion, Warzone 2100, Endgame: Singularity, Nexuiz and "
        "HyperRogue, for pretraining and for tagging by game. The label is a proxy of style: mastering and encoder "
        "differ by game too."
    ),
    licence=(
        "GPL-2.0-or-later (wesnoth, warzone2100, nexuiz, hyperrogue, most of ufoai), CC-BY-SA-3.0 (singularity, some "
        "of ufoai); usr/share/doc/PACKAGE/copyright says it per file"
    ),
    citation=(
        "https://www.wesnoth.org https://ufoai.org https://wz2100.net https://www.emhsoft.com/singularity "
        "http://www.alientrap.org/games/nexuiz https://www.roguetemple.com/z/hyper; artists are in the column `artist`"
    ),
    size="649 MB to download (the first three packages 199 MB); 185 tracks, 1659 spans, 13.1 h",
    layout=(
        "one folder a package, any of hyperrogue-music, singularity-music, nexuiz-music, warzone2100-music, "
        "wesnoth-1.16-music, ufoai-music"
    ),
    splits={
        "train": "80 % of each game's tracks, in the order of a hash; all spans of a track go together",
        "valid": "10 % of each game's tracks",
        "test": "10 % of each game's tracks",
    },
    labels=("label", "tags", "track", "artist"),
    requires=("apt",),
)

SPAN_SECONDS = 30.0

PACKAGES = {
    "hyperrogue-music": "usr/share/hyperrogue/music",
    "singularity-music": "usr/share/games/singularity/music",
    "nexuiz-music": "usr/share/games/nexuiz/data/music.pk3",
    "warzone2100-music": "usr/share/games/warzone2100/music",
    "wesnoth-1.16-music": "usr/share/games/wesnoth/1.16/data/core/music",
    "ufoai-music": "usr/share/games/ufoai/base/0music.pk3",
}
"""Package -> its folder of music, or the archive (pk3 is zip) that holds it; small packages first."""

_UNZIPPED = "unzipped"
_SILENT = frozenset({"wesnoth/silence"})


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield spans of equal length, at most 30 s, of every track of the packages that are there.

    Raises
    ------
    UserError
        If none of the packages is below `root`.
    """
    check_split(CORPUS, split)
    folders = {package: _music_folder(root, package) for package in PACKAGES}
    if not any(folder.is_dir() for folder in folders.values()):
        raise UserError(
            f"none of {CORPUS.title}'s packages was found here",
            where=str(root),
            remedy=f"`audio-ssl manifest {CORPUS.name} --fetch --out {CORPUS.name}.jsonl` fetches it; "
            f"layout: {CORPUS.layout}",
        )
    for package, folder in folders.items():
        game = package.split("-")[0]
        paths = sorted(p for p in folder.rglob("*") if p.suffix in (".ogg", ".opus"))
        parts = even_split(CORPUS.name, (f"{game}/{_piece(p)}" for p in paths))
        for path in paths:
            track = f"{game}/{path.relative_to(folder).with_suffix('').as_posix()}"
            part = parts[f"{game}/{_piece(path)}"]
            if split in (None, part):
                yield from _spans(path, game, track, part, left_out)


def fetch(root: Path, packages: Sequence[str] = tuple(PACKAGES)) -> None:
    """Download and unpack the packages; what is there already stays.

    Parameters
    ----------
    root
        Folder for the corpus.
    packages
        Which of the six; the first three are 200 MB together.
    """
    announce(CORPUS, root)
    fetch_apt(packages, root)
    for package in packages:
        archive, done = root / package / PACKAGES[package], root / package / _UNZIPPED
        if archive.is_file() and not done.exists():
            partial = done.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            with writing(done), zipfile.ZipFile(archive) as file:
                file.extractall(partial)
                partial.rename(done)


def _music_folder(root: Path, package: str) -> Path:
    inside = PACKAGES[package]
    return root / package / (_UNZIPPED if inside.endswith(".pk3") else inside)


def _piece(path: Path) -> str:
    # Two recordings of one piece must not end on both sides.
    return path.stem.removesuffix("_enhanced")


def _spans(path: Path, game: str, track: str, part: str, left_out: LeftOut) -> Iterator[Clip]:
    if track in _SILENT:
        left_out.add(path, "silent")
        return
    if (whole := usable_file(path, track, left_out)) is None:
        return
    artist = soundfile.SoundFile(path).copy_metadata().get("artist")
    count = math.ceil(whole.seconds / SPAN_SECONDS)
    seconds = whole.seconds / count
    for index in range(count):
        yield Clip(
            f"{track}#{index:03d}",
            whole.path,
            index * seconds,
            seconds,
            whole.sample_rate,
            label=game,
            tags=(game,),
            split=part,
            extra={"track": track, "artist": artist},
        )
