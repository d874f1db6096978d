"""MERT's ablation in small: which teachers help, and whether mixing does.

Every variant is the same model on mel frames (`mert_mel_tiny`, masked frames left out of its encoder), with the same
updates on the same music. Only teachers and mixing differ: RVQ codes, RVQ codes and a constant-Q transform (CQT),
k-means of log-mel and chroma, the same and CQT, with and without in-batch mixing. Then linear probes on held-out
clips: key and instrument (to read the game music for its style takes nine systems an hour).
The paper found CQT and chroma to matter most for key (MFCC k-means 15.1, + chroma 55.1, + CQT 65.0 on GiantSteps).

Run ``python benchmarks/ablation.py`` (half an hour on two cores) or with ``--updates 50``; prints a table and writes
``benchmarks/results/ablation.json``. Finished variants below ``--out`` are kept.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from _learning import RESULTS, line, prepare, probe, train  # type: ignore[import-not-found]

from audio_ssl.atomic import write_json

RECIPE = "mert_mel_tiny"
# Masked frames left out and four masks a clip: so few updates teach little otherwise.
CHANGED = (
    "precision=bfloat16",
    "data.seconds_per_update=24",
    "data.seconds_per_batch=24",
    "mask={prob: 0.6, length_frames: 8, adjust: 0.05, clones: 4}",
    "decoder={layers: 3, dim: 128, kernel_frames: 7, groups: 8, dropout: 0.0}",
)
HOP = 640
ASKED = ("key", "instrument")

_CODES = "{kind: rvq, path: CODEC}"
_LOGMEL = f"{{kind: kmeans, features: logmel, clusters: 100, hop_samples: {HOP}, path: LOGMEL}}"
_CHROMA = f"{{kind: kmeans, features: chroma, clusters: 100, hop_samples: {HOP}, path: CHROMA}}"
_CQT = f"{{kind: cqt, n_bins: 84, bins_per_octave: 12, hop_samples: {HOP}, log: true}}"

# Teachers, and whether clips are mixed.
VARIANTS = {
    "RVQ": ((_CODES,), True),
    "RVQ + CQT": ((_CODES, _CQT), True),
    "RVQ + CQT, no mixing": ((_CODES, _CQT), False),
    "k-means": ((_LOGMEL, _CHROMA), True),
    "k-means + CQT": ((_LOGMEL, _CHROMA, _CQT), True),
    "k-means + CQT, no mixing": ((_LOGMEL, _CHROMA, _CQT), False),
}


def settings(teachers: tuple[str, ...], mixing: bool, updates: int, files: dict[str, Path]) -> list[str]:
    """Return the settings of a variant."""
    named = "[" + ", ".join(teachers) + "]"
    for name, path in files.items():
        named = named.replace(name, str(path))
    objectives = [
        f"{{kind: reconstruction, teacher: {index}, weight: 1.0}}"
        if "kind: cqt" in teacher
        else f"{{kind: masked_codes, teacher: {index}, head: linear}}"
        for index, teacher in enumerate(teachers)
    ]
    changed = [*CHANGED, f"steps={updates}", f"teachers={named}", f"objectives=[{', '.join(objectives)}]"]
    return changed if mixing else [*changed, "mixing=null"]


def shared(manifest: Path, out: Path, codec_updates: int, kmeans: Path | None) -> dict[str, Path]:
    """Train the codec and, where there is no folder of them, fit the k-means that variants share; return where."""
    # 25 frames a second, as the model has.
    codec = train("codec_tiny", ["codec.ratios=[4,4,5,8]", f"steps={codec_updates}"], manifest, out / "codec")
    if kmeans is None:
        # One update fits the teachers of the run.
        kmeans = train(RECIPE, ["steps=1", "data.valid_share=0"], manifest, out / "fitted") / "teachers"
    files = (kmeans / str(index) / "kmeans.safetensors" for index in (0, 1))
    return {"CODEC": codec, "LOGMEL": next(files), "CHROMA": next(files)}


def main() -> None:
    """Train every variant, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--updates", type=int, default=300, help="of each variant")
    parser.add_argument("--codec-updates", type=int, default=300)
    parser.add_argument("--kmeans", type=Path, help="`teachers` of an earlier run, instead of a fit")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips, manifest = prepare("music", args.data, args.out)
    files = shared(manifest, args.out, args.codec_updates, args.kmeans)
    systems = {"log-mel": "logmel", "CQT": "cqt"}
    for name, (teachers, mixing) in VARIANTS.items():
        run = args.out / name.replace(", ", "_").replace(" + ", "_").replace(" ", "_").lower()
        train(RECIPE, settings(teachers, mixing, args.updates, files), manifest, run)
        systems.setdefault("untrained", f"untrained:{run}")
        systems[name] = str(run)
    rows = probe("music", systems, clips, args.out / "answers", ASKED)
    print("\n".join(["", *map(line, rows)]))
    write_json(RESULTS / "ablation.json", {"recipe": RECIPE, "updates": args.updates, "rows": rows})


if __name__ == "__main__":
    main()
