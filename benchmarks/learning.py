"""Does pretraining learn? Tiny recipes on freely packaged corpora, then linear probes on held-out clips.

Every system is asked the same questions: the pretrained model, its untrained twin, log-mel and CQT frames. Speech:
characters (CER), speaker (from half a second), language; music: key, instrument (from half a second), style, which
instruments of a band play, and of single frames notes, chords, beats and downbeats. Models are pretrained on the
training clips alone, without labels; layers, one of two ways to scale means of clips, and regularisation are chosen on
a tenth of the training clips; the corpora's `valid` and `test` splits are the held-out clips of the table. Models are
compared with each baseline clip by clip (``_pairs.py``).

Run ``python benchmarks/learning.py`` (an hour and a half on two cores), or ``--only speech`` / ``--only music``,
``--share 0.1`` for a tenth of the updates; prints a table and writes ``benchmarks/results/learning.json``. Finished
runs and answers below ``--out`` are kept, so it goes on where it was stopped. ``--model small`` asks a model that is
there already, beside the others or, with ``--no-training``, instead of training any. ``--peer resemblyzer`` asks a
frozen encoder of a PyPI package (``_peers.py``) and says how much of the way to the best peer a model covers.
``--model STUDENT --teacher small`` says how much of a teacher's gain over log-mel a student keeps.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from _learning import RESULTS, TASKS, ask, line, prepare, train  # type: ignore[import-not-found]
from _pairs import LEVEL, LOWER_IS_BETTER, ClipCounts, covered, gap  # type: ignore[import-not-found]
from _peers import PEERS, PREFIX  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.fairness.comparisons import holm
from audio_ssl.pretrain.recipe import load_recipe

RECIPES = {"speech": ("hubert_visible_tiny",), "music": ("mert_visible_tiny",)}

SETTINGS = ("precision=bfloat16",)
"""Half the time on CPUs that multiply bfloat16; the recipes leave it out, as others take longer with it."""


def compared(answers: list[tuple[dict[str, Any], ClipCounts]], models: list[str]) -> list[dict[str, Any]]:
    """Return for each task and model the gap to every baseline, and the way to the best peer that it covers."""
    found = []
    for task in dict.fromkeys(row["task"] for row, _ in answers):
        of = {row["system"]: (row, counts) for row, counts in answers if row["task"] == task}
        lower = next(iter(of.values()))[1].metric in LOWER_IS_BETTER
        peers = {name: row["value"] for name, (row, _) in of.items() if name in PEERS}
        best = (min if lower else max)(peers, key=lambda name: peers[name]) if peers else None
        for model in (model for model in models if model in of):
            others = [name for name in ("log-mel", "CQT", f"{model}, untrained") if name in of]
            for other in [*others, *([best] if best else [])]:
                one = gap(of[model][1], of[other][1])
                row = {"task": task, "model": model, "other": other, "peer": other == best, "word": one.word}
                found.append({**row, "value": one.value, "low": one.low, "high": one.high, "p": one.p})
                if other == best:
                    way = covered(of[model][0]["value"], of["log-mel"][0]["value"], peers[other], lower)
                    found[-1]["covered"] = way
    return found


def verdict(pairs: list[dict[str, Any]], model: str) -> list[str]:
    """Say for each task how the model stands against every baseline, then on how many tasks it is above all of them.

    Intervals are of one comparison each. A model that is above all baselines of a task is so by the weakest of its
    comparisons (no correction needed: Berger 1982); over tasks these are corrected by Holm's method.
    """
    mine = [row for row in pairs if row["model"] == model]
    found, weakest = [], []
    for task in dict.fromkeys(row["task"] for row in mine):
        rows = [row for row in mine if row["task"] == task]
        against = [row for row in rows if not row["peer"]]
        shown = [f"{_PHRASES[row['word']]} {row['other']} ({_signed(row)})" for row in against]
        weakest.append(max(row["p"] if row["value"] > 0 else 1.0 for row in against))
        for row in rows:
            if row["peer"]:
                way = (
                    "is no better than log-mel"
                    if row["covered"] is None
                    else f"{max(0.0, row['covered']):.0f} % of the way"
                )
                shown.append(f"best peer {row['other']} ({_signed(row)}): {way}")
        found.append(f"{task}: {'; '.join(shown)}")
    held = [p < LEVEL for p in holm(weakest)]
    others = [task for task, above in zip(dict.fromkeys(row["task"] for row in mine), held, strict=True) if not above]
    count = f"{model} is above every baseline on {sum(held)} of {len(held)} tasks (p by Holm over the tasks)"
    return [*found, f"{count}; not on {' / '.join(others)}" if others else count]


def kept(answers: list[tuple[dict[str, Any], ClipCounts]], student: str, teacher: str) -> list[dict[str, Any]]:
    """Return for each task how much of the teacher's gain over log-mel the student keeps, in percent.

    Tasks where the teacher is no better than log-mel are left out, as there is nothing to keep.
    """
    found = []
    for task in dict.fromkeys(row["task"] for row, _ in answers):
        of = {row["system"]: (row["value"], counts) for row, counts in answers if row["task"] == task}
        lower = of[teacher][1].metric in LOWER_IS_BETTER
        share = covered(of[student][0], of["log-mel"][0], of[teacher][0], lower)
        if share is not None:
            gain = abs(of[teacher][0] - of["log-mel"][0])
            found.append({"task": task, "student": student, "teacher": teacher, "gain": gain, "kept": share})
    return found


def kept_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each task, then one for all: the mean, and the share of the points of all tasks."""
    said = [
        f"{row['task']}: {row['student']} keeps {row['kept']:.0f} % of the {row['gain']:.1f} points that "
        f"{row['teacher']} is above log-mel"
        for row in rows
    ]
    if not rows:
        return said
    points = sum(row["gain"] for row in rows)
    mean = sum(row["kept"] for row in rows) / len(rows)
    whole = sum(row["gain"] * row["kept"] for row in rows) / points
    student, teacher = rows[0]["student"], rows[0]["teacher"]
    over = f"{student} keeps {mean:.1f} % of the gain of {teacher} in the mean over {len(rows)} tasks"
    return [*said, f"{over}, and {whole:.1f} % of the {points:.1f} points of all of them"]


_PHRASES = {"above": "above", "below": "below", "not significant": "no significant difference from"}


def _signed(row: dict[str, Any]) -> str:
    return f"{row['value']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"


def main() -> None:
    """Pretrain, probe, print."""
    names = [task.name for tasks in TASKS.values() for task in tasks]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="folder of the runs")
    parser.add_argument("--only", choices=tuple(TASKS), help="one domain")
    parser.add_argument("--recipe", action="append", help="other recipes than the usual ones (with --only)")
    parser.add_argument(
        "--model", action="append", default=[], help="`small`, or a folder: a model that is not trained"
    )
    parser.add_argument("--no-twins", action="store_true", help="leave out the untrained twins of --model")
    parser.add_argument("--teacher", help="`small`, or a folder: the model whose gain over log-mel each --model keeps")
    parser.add_argument("--peer", action="append", default=[], choices=tuple(PEERS), help="a frozen encoder")
    parser.add_argument("--no-training", action="store_true", help="train no recipe")
    parser.add_argument("--share", type=float, default=1.0, help="share of each recipe's updates")
    parser.add_argument("--task", action="append", choices=names, help="one question; all if left out")
    parser.add_argument("--result", type=Path, default=RESULTS / "learning.json", help="where the table's numbers go")
    parser.add_argument("settings", nargs="*", help="key=value settings of the recipes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = args.result
    for domain in [args.only] if args.only else list(TASKS):
        clips, manifest = prepare(domain, args.data, args.out)
        systems = {"log-mel": "logmel", "CQT": "cqt"}
        recipes, updates = [] if args.no_training else args.recipe or RECIPES[domain], {}
        for recipe in recipes:
            steps = max(1, round(load_recipe(recipe).steps * args.share))
            run = train(recipe, [f"steps={steps}", *SETTINGS, *args.settings], manifest, args.out / Path(recipe).stem)
            updates[run.name] = load_recipe(str(run / "recipe.yaml")).steps
            systems |= {f"{run.name}, untrained": f"untrained:{run}", run.name: str(run)}
        asked = [*args.model, *([args.teacher] if args.teacher and args.teacher not in args.model else [])]
        for model in asked:
            twin = {} if args.no_twins else {f"{Path(model).name}, untrained": f"untrained:{model}"}
            systems |= {**twin, Path(model).name: model}
        systems |= {peer: PREFIX + peer for peer in args.peer}
        answers = ask(domain, systems, clips, args.out / "answers", args.task)
        models = [*updates, *(Path(model).name for model in asked)]
        pairs = compared(answers, models)
        verdicts = [verdict(pairs, model) for model in models]
        said = [sentence for one in verdicts for sentence in one]
        teacher = Path(args.teacher).name if args.teacher else None
        shares = [kept(answers, model, teacher) for model in models if teacher and model != teacher]
        said += [sentence for one in shares for sentence in kept_lines(one)]
        rows = [row for row, _ in answers]
        print("\n".join(["", *map(line, rows), "", *said]), flush=True)
        # A domain alone leaves the other's answers, those of a process beside this one too.
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = {"updates": updates, "rows": rows, "pairs": pairs, "verdict": said}
        if shares:
            found["kept"] = [row for one in shares for row in one]
        write_json(path, {**result, domain: {**found, "summary": [one[-1] for one in verdicts]}})


if __name__ == "__main__":
    main()
