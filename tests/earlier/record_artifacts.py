"""Writes `artifacts/`: one small artifact of each kind, through the command line, on clips of ten made-up people.

python tests/earlier/record_artifacts.py OUT

Run once, in a checkout of the commit whose files are to be kept (README.md names it).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from corpus import wave  # noqa: E402

from audio_ssl.__main__ import run as command_line  # noqa: E402
from audio_ssl.base.checksums import SEALS_FILE, read_seals, write_seals  # noqa: E402
from audio_ssl.data.manifest import Clip, write_manifest  # noqa: E402
from tests.recipes import shrunk  # noqa: E402

RATE = 16000
WORDS = ("abacab", "dabada", "bacaba")
SPLITS = ("train", "valid", "valid", "test", "test")
STEPS = ("optim.steps=2", "optim.eval_every=1", "optim.batch_clips=8")
SMALL = (
    *("steps=2", "seed=1", "device=cpu", "checkpoint.every=2", "checkpoint.valid_every=1", "data.valid_share=0.2"),
    *("data.crop_seconds=1.0", "data.min_seconds=0.3", "data.seconds_per_update=2.0", "data.seconds_per_batch=2.0"),
)
STUDY = (
    "hours=0.001",
    "replicates=100",
    "sets={female: {F: 1.0}, balanced: {F: 0.5, M: 0.5}, male: {M: 1.0}}",
    "pretrain.settings=[steps=2, data.valid_share=0, data.crop_seconds=1.0, data.min_seconds=0.5, "
    "data.seconds_per_update=2.0, data.seconds_per_batch=2.0, encoder.layers=1, encoder.dim=16, encoder.ffn_dim=16, "
    "encoder.heads=2, encoder.position_kernel_frames=4, teachers.0.clusters=4, device=cpu]",
    "probes={asr_frozen: {probe: demo_asr, title: ASR, settings: [optim.steps=2, optim.eval_every=1, head.dim=8]}}",
)
KEPT_OF_A_RUN = ("recipe.yaml", "provenance.json", "metrics.jsonl", "labels.json", "reconstructions/clips.json")
CORPUS = '''
"""A corpus of {name} clips."""
from audio_ssl.data.corpus import Corpus, require_folder
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="{name}", title="The {name}", description="d", licence="CC0", citation="nobody", size="2 clips",
    layout="a.wav", splits={{"train": "first", "test": "second"}}, languages=("en",), labels=("text",), requires=(),
)

def read(root, split=None):
    require_folder(root, CORPUS, can_fetch=False)
    for name, part in (("a", "train"), ("b", "valid"), ("c", "test")):
        yield Clip(name, str(root / (name + ".wav")), 0.0, 12.0, 16000, text=name, split=part)
'''


def make_clips(folder: Path) -> Path:
    """Write five clips of each of twelve people, with every column that a probe asks for."""
    folder.mkdir()
    clips = []
    for person in range(12):
        for number, split in enumerate(SPLITS):
            index = len(SPLITS) * person + number
            turn = person // 2 + number
            sound = wave(index % 5 + person % 2, 0.6 + 0.05 * (index % 4))
            path = folder / f"{index}.wav"
            soundfile.write(path, sound, RATE)
            seconds = len(sound) / RATE
            words = [WORDS[turn % 3], WORDS[(turn + 1) % 3]]
            letters = "".join(words)
            step = seconds / (len(letters) + 1)
            times = [(step * (i + 0.5), step * (i + 1.5)) for i in range(len(letters))]
            extra = {
                "phone_times": "; ".join(f"{a:.3f} {b:.3f} {c}" for (a, b), c in zip(times, letters, strict=True)),
                "emotion": ("angry", "sad")[turn % 2],
                "session": f"Session{person % 3}",
                "age": 20 + 7 * (person % 4),
            }
            one = Clip(f"clip{index}", str(path), 0.0, seconds, RATE, text=" ".join(words), split=split, extra=extra)
            clips.append(
                replace(
                    one,
                    label=("C major", "G major")[turn % 2],
                    tags=("loud", "low")[: 1 + turn % 2],
                    speaker=f"s{person}",
                    gender="FM"[person % 2],
                    language=("cs", "de")[person // 6],
                )
            )
    clips[-1] = replace(clips[-1], gender=None, extra={**clips[-1].extra, "emotion": "<b>&\u202e"})
    write_manifest(folder / "clips.jsonl", clips)
    return folder / "clips.jsonl"


def ask(*words: str) -> None:
    """Run a command as people do."""
    sys.argv = ["audio-ssl", *words]
    status = command_line(list(words))
    if status:
        raise SystemExit(f"{words}: {status}")


def record_results(out: Path) -> None:
    manifest = "data.manifest=clips/clips.jsonl"
    twins = "baselines=[untrained, logmel]"
    folds = ("data.folds=3", "data.fold_column=session")
    none = "baselines=[]"
    where = f"{out}/results"
    run = "runs/mert_tiny"
    ask("probe", "demo_key", run, manifest, *STEPS, twins, "head.hidden_dim=8", "--out", f"{where}/key")
    ask(
        "probe",
        "emotion_superb",
        run,
        manifest,
        *STEPS,
        none,
        *folds,
        "head.dim=8",
        "--out",
        f"{where}/emotion_in_folds",
    )
    ask("probe", "demo_asr", run, manifest, *STEPS, "head.dim=8", twins, "seeds=[0, 1]", "--out", f"{where}/asr")
    ask(
        "probe",
        "demo_tagging",
        "logmel",
        manifest,
        *STEPS,
        "task.min_count=1",
        "head.hidden_dim=8",
        "--out",
        f"{where}/tagging",
    )
    verify = Path("verification.yaml")
    verify.write_text("# Who is it?\ntask: {kind: speaker_verification}\nhead: {kind: mean_embedding, dim: 8}\n")
    ask("probe", str(verify), run, manifest, *STEPS, none, "--out", f"{where}/verification")
    ask("probe", "abx", run, manifest, "task.unit=phone", "baselines=[logmel]", "--out", f"{where}/abx")
    few = ("task.shuffles=2", "task.orders=1")
    ask("probe", "gender_layers", run, manifest, *few, "baselines=[logmel]", "--out", f"{where}/gender_layers")


def record_runs(out: Path) -> None:
    manifest = "data.manifest=clips/clips.jsonl"
    ask("pretrain", "mert_tiny", manifest, *SMALL, *shrunk("mert_tiny"), "--out", "runs/mert_tiny")
    ask("pretrain", "codec_tiny", manifest, *SMALL, *shrunk("codec_tiny"), "--out", "runs/codec_tiny")
    for name in ("mert_tiny", "codec_tiny", "mert_tiny/teachers/codec"):
        for kept in KEPT_OF_A_RUN:
            if (Path("runs") / name / kept).is_file():
                (out / "runs" / name / kept).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path("runs") / name / kept, out / "runs" / name / kept)


def record_features(out: Path) -> None:
    short = [json.loads(line) for line in Path("clips/clips.jsonl").read_text().splitlines()[:3]]
    Path("clips/few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short))
    for kind, pool in (("safetensors", "none"), ("npy", "none"), ("parquet", "mean")):
        where = f"{out}/features/{kind}"
        ask("extract", "clips/few.jsonl", "runs/mert_tiny", "--format", kind, "--pool", pool, "--dtype", "float16",
            "--out", where)  # fmt: skip
    ask("targets", "hubert_mel_tiny", "data.manifest=clips/clips.jsonl", *SMALL, *shrunk("hubert_mel_tiny"),
        "--out", f"{out}/store")  # fmt: skip


def record_data(out: Path) -> None:
    import audio_ssl.data.mix as mixes

    (out / "data").mkdir()
    ask("audit", "clips/clips.jsonl", "--by", "gender", "--levels", "--out", "audit.html")
    shutil.copy("audit.json", out / "data" / "audit.json")
    ask("manifest", "clips/clips.jsonl", "--balance", "gender=F:0.5,M:0.5", "--hours", "0.003", "--speaker-hours",
        "0.001", "--out", "half.jsonl")  # fmt: skip
    shutil.copy("half.balance.json", out / "data" / "half.balance.json")
    loads = mixes.load_corpus
    for name in ("first", "second", "third"):
        Path(f"{name}.py").write_text(CORPUS.format(name=name))
    for there in ("first", "second"):
        Path("corpora", there).mkdir(parents=True)
    Path("own.yaml").write_text(
        "parts:\n  first: {domain: speech, hours: 1}\n  second: {domain: music, hours: 1, repeats: 2}\n"
        "  third: {domain: music, hours: 2}\n"
    )
    mixes.load_corpus = lambda name: loads(f"{name}.py")
    ask("manifest", "own.yaml", "--root", "corpora", "--out", "mixed.jsonl")
    mixes.load_corpus = loads
    shutil.copy("mixed.mix.json", out / "data" / "mixed.mix.json")


def record_fairness(out: Path) -> None:
    (out / "fairness").mkdir()
    by = ("--by", "gender", "--by", "age")
    few = ("--replicates", "200", "--min-speakers", "2")
    asr, key = f"{out}/results/asr", f"{out}/results/key"
    base = f"{asr}/baselines/logmel"
    ask("fairness", asr, base, *by, *few, "--tolerance", "5", "--system", "ours", "--system", "log-mel", "--version",
        "1", "--version", "1", "--test-set", "toy", "--examples", "--metric", "wer", "--out", "asr.html")  # fmt: skip
    ask("fairness", f"{out}/results/verification", "--by", "gender", *few, "--out", "verification.html")
    ask("fairness", f"{out}/results/gender_layers", key, "--by", "gender", "--by", "language", "--replicates", "200",
        "--out", "layers.html")  # fmt: skip
    for name in ("asr", "verification", "layers"):
        shutil.copy(f"{name}.json", out / "fairness" / f"{name}.json")


def record_study(out: Path) -> None:
    ask("study", "gender_study_tiny", "manifest=clips/clips.jsonl", *STUDY, "--out", "study")
    for kept in ("study.json", "study.yaml", "provenance.json", "sets/female/balance.json"):
        (out / "study" / kept).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("study") / kept, out / "study" / kept)


def forget_paths(folder: Path, scratch: Path) -> None:
    """Take the place where this ran out of texts and predictions, and record the lengths of files anew."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".jsonl", ".yaml"):
            path.write_text(path.read_text().replace(f"{scratch}/", ""))
        elif path.name == "predictions.parquet":
            table = pq.read_table(path)
            place = table.column_names.index("path")
            kept = [text.replace(f"{scratch}/", "") for text in table["path"].to_pylist()]
            pq.write_table(table.set_column(place, "path", pa.array(kept)), path)
    for record in folder.rglob(SEALS_FILE):
        write_seals(record.parent, read_seals(record.parent))
    for path in folder.rglob("*"):
        if path.is_file() and str(scratch).encode() in path.read_bytes():
            print("still names a path:", path)


def main(out: Path) -> None:
    out.mkdir(parents=True)
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary).resolve()
        os.chdir(scratch)
        make_clips(scratch / "clips")
        record_runs(Path("kept"))
        for record in (record_results, record_features, record_data, record_fairness, record_study):
            record(Path("kept"))
        shutil.copytree("kept", out, dirs_exist_ok=True)
        forget_paths(out, scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
