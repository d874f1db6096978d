"""Does pretraining learn? Tiny recipes on freely packaged corpora, then linear probes on held-out clips.

Every system is asked the same questions: the pretrained model, its untrained twin, log-mel and CQT frames. Speech:
characters (CER), speaker (from half a second), language; music: key, instrument (from half a second), style. Models are
pretrained on the training clips alone, without labels; layers and regularisation are chosen on a tenth of the training
clips; the corpora's `valid` and `test` splits are the held-out clips of the table.

Run ``python benchmarks/learning.py`` (an hour and a half on two cores), or ``--only speech`` / ``--only music``,
``--share 0.1`` for a tenth of the updates; prints a table and writes ``benchmarks/results/learning.json``. Finished
runs and answers below ``--out`` are kept.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from _learning import RESULTS, TASKS, line, prepare, probe, train  # type: ignore[import-not-found]

from audio_ssl.atomic import write_json
from audio_ssl.pretrain.recipe import load_recipe

RECIPES = {"speech": ("hubert_visible_tiny",), "music": ("mert_visible_tiny",)}

SETTINGS = ("precision=bfloat16",)
"""Half the time on CPUs that multiply bfloat16; the recipes leave it out, as others take longer with it."""


def verdict(rows: list[dict[str, Any]], model: str) -> list[str]:
    """Say for each task how the model stands against every baseline, intervals considered."""
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = next(row for row in rows if row["task"] == task and row["system"] == model)
        sign = -1 if mine["metric"] == "CER" else 1
        others = [
            row for row in rows if row["task"] == task and row["system"] in ("log-mel", "CQT", f"{model}, untrained")
        ]
        clear = [r for r in others if (mine["low"] > r["high"] if sign > 0 else mine["high"] < r["low"])]
        better = [r for r in others if sign * mine["value"] > sign * r["value"]]
        if len(clear) == len(others):
            found.append(f"{task}: {model} is above all of {len(others)} baselines, intervals apart")
        else:
            unclear = ", ".join(row["system"] for row in others if row not in clear)
            found.append(
                f"{task}: {model} is above {len(better)} of {len(others)}; intervals overlap or it is below: {unclear}"
            )
    return found


def main() -> None:
    """Pretrain, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="folder of the runs")
    parser.add_argument("--only", choices=tuple(TASKS), help="one domain")
    parser.add_argument("--recipe", action="append", help="other recipes than the usual ones (with --only)")
    parser.add_argument("--share", type=float, default=1.0, help="share of each recipe's updates")
    parser.add_argument("settings", nargs="*", help="key=value settings of the recipes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = RESULTS / "learning.json"
    for domain in [args.only] if args.only else list(TASKS):
        clips, manifest = prepare(domain, args.data, args.out)
        systems = {"log-mel": "logmel", "CQT": "cqt"}
        recipes, updates = args.recipe or RECIPES[domain], {}
        for recipe in recipes:
            steps = max(1, round(load_recipe(recipe).steps * args.share))
            run = train(recipe, [f"steps={steps}", *SETTINGS, *args.settings], manifest, args.out / Path(recipe).stem)
            updates[run.name] = load_recipe(str(run / "recipe.yaml")).steps
            systems |= {f"{run.name}, untrained": f"untrained:{run}", run.name: str(run)}
        rows = probe(domain, systems, clips, args.out / "answers")
        said = [sentence for recipe in recipes for sentence in verdict(rows, Path(recipe).stem)]
        print("\n".join(["", *map(line, rows), "", *said]), flush=True)
        # A domain alone leaves the other's answers, those of a process beside this one too.
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_json(path, {**result, domain: {"updates": updates, "rows": rows, "verdict": said}})


if __name__ == "__main__":
    main()
