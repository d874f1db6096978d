"""Does it help to go on from a model with audio of another domain? `small` hears speech of a telephone.

The training clips of four corpora of speech, as a telephone gives them (``_telephone.py``), continue `small` with code
books of their own, and train the same recipe from random weights for as many updates. On held-out clips of the same
telephone `learning.py` asks its questions about speech: of both, of `small` as it was, of log-mel and CQT frames and of
the untrained twin. Every one of them is compared with the continued model clip by clip.

Run ``python benchmarks/continued.py``: it makes 650 MB of audio, trains twice (25 minutes each on a core that
multiplies bfloat16 and has nothing else to do), asks for half an hour, and writes
``benchmarks/results/continued.json``. What is finished is found again. The source is the model that ships, whose heads
begin fresh; ``--source runs/small``, where `make small` has trained, brings its decoder and constant-Q head along.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from _learning import PRETRAINED_ON, RESULTS, ask, corpora, line  # type: ignore[import-not-found]
from _pairs import gap  # type: ignore[import-not-found]
from _telephone import by_telephone  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.data.manifest import write_manifest
from audio_ssl.pretrain.run import pretrain

UPDATES = 800
SHARED = (f"steps={UPDATES}", "optim.warmup_steps=100", "checkpoint.valid_every=200", "checkpoint.every=50")
CONTINUED = ("optim.lr=5e-4", "init.teachers=false", "init.freeze_updates=100")
"""Half the recipe's rate, as the weights are in place; from random weights the recipe's own is kept. The encoder stays
as it is while heads and decoder settle. Code books are fitted to the telephone in both runs: of the source's, 19 of 20
codes would never be given."""


def main() -> None:
    """Make the domain, train, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="small", help="the model to go on from: a run of the recipe `small`, or it")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/continued"), help="folder of audio, runs and answers")
    parser.add_argument("--only", choices=("audio", "continued", "scratch"), help="stop after this")
    parser.add_argument("--precision", default="bfloat16", help="of training")
    parser.add_argument("--result", type=Path, default=RESULTS / "continued.json", help="where the numbers go")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recorded = corpora(args.data, PRETRAINED_ON["speech"])
    clips = {name: by_telephone(found, args.out / "audio") for name, found in recorded.items()}
    manifest = args.out / "train.jsonl"
    write_manifest(manifest, [clip for found in clips.values() for clip in found if clip.split == "train"])
    if args.only == "audio":
        return
    settings = [f"data.manifest={manifest}", *SHARED, f"precision={args.precision}"]
    runs = {"continued": [f"init={args.source}", *CONTINUED], "scratch": []}
    if args.only:
        runs = {args.only: runs[args.only]}
    for name, own in runs.items():
        pretrain("small", [*settings, *own], args.out / name, resume=True)
    if args.only:
        return
    systems = {
        "log-mel": "logmel",
        "CQT": "cqt",
        "untrained": f"untrained:{args.source}",
        "from scratch": str(args.out / "scratch"),
        "source": args.source,
        "continued": str(args.out / "continued"),
    }
    answers = ask("speech", systems, clips, args.out / "answers")
    pairs, said = [], []
    for task in dict.fromkeys(row["task"] for row, _ in answers):
        of = {row["system"]: counts for row, counts in answers if row["task"] == task}
        for other in systems:
            if other != "continued":
                one = gap(of["continued"], of[other])
                pairs.append({"task": task, "other": other, "word": one.word, "value": one.value, "low": one.low})
                pairs[-1] |= {"high": one.high, "p": one.p}
                gained = f"{one.value:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"
                said.append(f"{task}: continued against {other}: {gained}, {one.word}")
    rows: list[dict[str, Any]] = [row for row, _ in answers]
    print("\n".join(["", *map(line, rows), "", *said]), flush=True)
    write_json(args.result, {"updates": UPDATES, "rows": rows, "pairs": pairs, "said": said})


if __name__ == "__main__":
    main()
