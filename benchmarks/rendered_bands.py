"""What is in the corpus `rendered_bands`: which scores are left out, what melodies are shared, and size, hours, time.

Run ``python benchmarks/rendered_bands.py``: it reads all scores and renders sixty clips into a temporary folder. With
``--root data/rendered_bands`` it counts what is there as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from audio_ssl.catalog import find
from audio_ssl.data.audio import audio_info
from audio_ssl.data.corpus import LeftOut, load_corpus, optional_package, tunes
from audio_ssl.data.import_file import import_file

STEPS = (12, 16, 20, 24)
CLIPS = 60


def scores(bands: Any) -> None:
    """Print the tunes of each split, and for how many the melody is held out under another title."""
    left_out, begun = LeftOut(bands.CORPUS.name), time.process_time()
    kept = Counter(split for _, _, split in bands._tunes(left_out))
    seconds, number = time.process_time() - begun, kept.total() + left_out.counts.total()
    print(f"{number} scores, read in {seconds:.1f} s of a core; tunes {dict(kept)}; left out {dict(left_out.counts)}")
    music21 = optional_package("music21", bands.CORPUS, bands.PIP)
    found: dict[bool, list[Any]] = {True: [], False: []}
    for tune in tunes.all_tunes(music21):
        score = tunes.read_score(tune, music21)
        trains = bands.hash_split(bands.SCORES, tune.title) == "train"
        if not trains or bands._why_not(tune, score) is None:
            found[trains].append(score)
    for steps in STEPS:
        held_out = {step for score in found[False] for step in tunes.melody_steps(score, steps)}
        shared = sum(not held_out.isdisjoint(tunes.melody_steps(score, steps)) for score in found[True])
        print(f"{steps} steps in a row are shared with a tune held out by {shared} of {len(found[True])} to train on")


def rendering(name: str) -> None:
    """Print how long rendering takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        fetch = load_corpus(name).fetch
        assert fetch is not None
        fetch(Path(folder), clips=CLIPS)
        print(f"rendering: {time.process_time() - begun:.1f} s of a core")
        size(Path(folder))


def size(root: Path) -> None:
    """Print hours and bytes of what was rendered, after each thousand clips."""
    rows = json.loads((root / "labels.json").read_text(encoding="utf-8"))["clips"]
    seconds, size, splits = dict.fromkeys(("train", "valid", "test"), 0.0), 0, Counter[str]()
    for number, row in enumerate(rows, 1):
        path = root / "audio" / f"{row['name']}.flac"
        splits[row["split"]] += 1
        seconds[row["split"]] += audio_info(path).seconds
        size += path.stat().st_size
        if number % 1000 == 0 or number == len(rows):
            hours = {split: round(one / 3600, 2) for split, one in seconds.items()}
            print(f"{number} clips: {dict(splits)}, {sum(seconds.values()) / 3600:.2f} h {hours}, {size / 1e9:.3f} GB")


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="where clips have been rendered")
    args = parser.parse_args()
    if args.root:
        size(args.root)
    scores(import_file(find("corpora", "rendered_bands")))
    rendering("rendered_bands")


if __name__ == "__main__":
    main()
