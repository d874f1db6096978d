"""The kinds of artifacts: how each is made, what of it is damaged, and the commands that read it."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import damage, make, right
from tests.fuzz.harness import Subject

_POOLED = ("--pool", "mean")


def _audio(suffix: str) -> Subject:
    def commands(out: Path) -> list[list[str]]:
        extraction = ["extract", ".", "logmel", *_POOLED, "--out", str(out / "f")]
        return [extraction, ["manifest", ".", "--out", str(out / "m.jsonl")]]

    def make_audio(folder: Path) -> None:
        make.audio(folder, suffix)

    return Subject(f"audio{suffix}", make_audio, (f"damaged{suffix}",), damage.BYTES, commands, right.audio)


def _predictions(suffix: str) -> Subject:
    def commands(out: Path) -> list[list[str]]:
        return [["fairness", f"p{suffix}", "--replicates", "100", "--out", str(out / "p.html")]]

    damages = damage.BYTES if suffix == ".parquet" else damage.TEXT
    name = f"predictions{suffix}"
    return Subject(name, make.predictions, (f"p{suffix}",), damages, commands, right.predictions)


def _manifest(out: Path) -> list[list[str]]:
    balance = ["--balance", "gender=F:0.5,M:0.5", "--hours", "0.001"]
    return [
        ["audit", "m.jsonl", "--out", str(out / "a.html")],
        ["extract", "m.jsonl", "logmel", *_POOLED, "--out", str(out / "f")],
        ["manifest", "m.jsonl", *balance, "--out", str(out / "b.jsonl")],
    ]


def _recipe(out: Path) -> list[list[str]]:
    return [["pretrain", "r.yaml", "data.manifest=m.jsonl", "steps=1", "--out", str(out / "run")]]


def _probe(out: Path) -> list[list[str]]:
    return [["probe", "p.yaml", "logmel", "data.manifest=m.jsonl", "optim.steps=2", "--out", str(out / "r")]]


def _model(out: Path) -> list[list[str]]:
    layout = [*_POOLED, "--format", "npy", "--layers", "1"]
    return [
        ["extract", "audio", "run", *layout, "--out", str(out / "f")],
        ["report", "run", "--out", str(out / "r.html")],
    ]


def _resume(out: Path) -> list[list[str]]:
    return [["pretrain", "r.yaml", "data.manifest=m.jsonl", "--resume", "--out", "run"]]


def _features(out: Path) -> list[list[str]]:
    layouts = ("safetensors", "npy", "parquet")
    return [["extract", "m.jsonl", "logmel", *_POOLED, "--format", layout, "--out", layout] for layout in layouts]


def _result(out: Path) -> list[list[str]]:
    return [
        ["report", "result", "--out", str(out / "r.html")],
        ["fairness", "result", "--replicates", "100", "--out", str(out / "p.html")],
    ]


def _predict(out: Path) -> list[list[str]]:
    return [["predict", "result", "m.jsonl", "--out", str(out / "o")]]


def _predict_again(out: Path) -> list[list[str]]:
    return [["predict", "result", "m.jsonl", "--out", "said"]]


def _units_again(out: Path) -> list[list[str]]:
    return [[*make.UNITS, "--out", "u"]]


def _code_book(out: Path) -> list[list[str]]:
    coded = ["units", "m.jsonl", "logmel", "--layer", "0", "--out", str(out / "o"), "--codebook"]
    return [[*coded, f"km.{suffix}"] for suffix in ("bin", "npy", "safetensors")]


def _begin(out: Path) -> list[list[str]]:
    return [["pretrain", "r.yaml", "data.manifest=m.jsonl", "init=run", "steps=1", "--out", str(out / "run")]]


def _check_run(out: Path) -> list[list[str]]:
    return [["check", "run"]]


def _check_features(out: Path) -> list[list[str]]:
    return [["check", "safetensors", "npy", "parquet"]]


_OF_RUNS = ("run/*.json", "run/*.jsonl", "run/*.yaml")
_WEIGHTS = ("run/model.safetensors",)
_STORED = ("safetensors/*", "safetensors/*/*", "npy/*", "parquet/*", "parquet/*/*")

_RECORDED = (
    "safetensors/index.jsonl",
    "safetensors/*/*",
    "npy/index.jsonl",
    "npy/*.npy",
    "parquet/*.jsonl",
    "parquet/*/*",
)

SUBJECTS: tuple[Subject, ...] = (
    *(_audio(suffix) for suffix in (".wav", ".flac", ".mp3", ".ogg", ".m4a")),
    Subject("manifest", make.manifest, ("m.jsonl",), damage.TEXT, _manifest, right.manifest),
    *(_predictions(suffix) for suffix in (".csv", ".tsv", ".jsonl", ".parquet")),
    Subject("recipe", make.cards, ("r.yaml",), damage.YAML, _recipe, right.anything),
    Subject("probe", make.cards, ("p.yaml",), damage.YAML, _probe, right.anything),
    Subject("run", make.finished_run, _OF_RUNS, damage.JSON, _model, right.model),
    Subject("run.weights", make.finished_run, _WEIGHTS, damage.BYTES, _model, right.model),
    Subject("run.finished", make.finished_run, (*_WEIGHTS, *_OF_RUNS), damage.BYTES, _resume, right.resumed),
    Subject("run.checked", make.finished_run, _WEIGHTS, damage.BYTES, _check_run, right.checked),
    Subject("checkpoint", make.killed_run, ("run/state/*/*", "run/*.jsonl"), damage.BYTES, _resume, right.resumed),
    Subject("features", make.features, _STORED, damage.BYTES, _features, right.features),
    Subject("features.checked", make.features, _RECORDED, damage.BYTES, _check_features, right.checked),
    Subject("result", make.result, ("result/*",), damage.JSON, _result, right.anything),
    Subject("init", make.finished_run, (*_WEIGHTS, *_OF_RUNS, "run/teachers/*"), damage.BYTES, _begin, right.anything),
    Subject("predict", make.result, ("result/*",), damage.JSON, _predict, right.every_clip),
    Subject("predict.again", make.predicted, ("said/*",), damage.BYTES, _predict_again, right.again),
    Subject("units.again", make.units, ("u/*", "u/store/*"), damage.BYTES, _units_again, right.again),
    Subject("code_book", make.code_books, ("km.*",), damage.BYTES, _code_book, right.every_clip),
)
