"""Extraction of a long file: its memory, and how far chunks are from the file computed at once.

- Memory: the largest resident size of a fresh process that extracts a file of three hours with a model of HuBERT
  base's size. It does not depend on how many blocks are run, so three are, unless `--peak-layers` says otherwise.
- Distance: two minutes of real speech cut into chunks of 30 s with more and less context, against the same two minutes
  at once: root mean square of the difference over that of the features, by layer.

Run ``python benchmarks/long_file.py --model RUN``; prints and writes ``benchmarks/results/long_file.json``. Speech is
that of ``--audio``, a folder; without it the Asterisk prompts are fetched.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import numpy as np
import soundfile
import torch

from audio_ssl.base.errors import AudioError
from audio_ssl.base.files import write_json
from audio_ssl.data.audio import audio_info, read_clip
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, audio_files
from audio_ssl.features.load import load
from audio_ssl.features.settings import Settings
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model

RATE, PART_SECONDS, CHUNK_SECONDS = 16_000, 120.0, 30.0
CONTEXTS = (0.0, 0.5, 1.0, 2.0, 5.0)


def main() -> None:
    """Measure both and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained model; without it no distance is measured")
    parser.add_argument("--audio", type=Path, help="folder of speech")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--peak-layers", default="3")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "long_file.json")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    result: dict[str, Any] = {"machine": _machine.measure().as_dict()}
    with tempfile.TemporaryDirectory(dir=options.out.parent) as folder:
        speech = speech_of(options.audio)
        if options.model:
            result["distance"] = distances(options.model, speech, Path(folder))
        result["memory"] = memory(speech, options.hours, options.peak_layers, Path(folder))
    print(json.dumps(result, indent=2))
    write_json(options.out, result)


def speech_of(folder: Path | None) -> list[Path]:
    """Return files of speech."""
    if folder is None:
        from audio_ssl.data.build import make_manifest

        folder = Path("data/asterisk")
        make_manifest("asterisk", Path("data/asterisk.jsonl"), root=folder, fetch=True)
    files = list(audio_files(folder, ErrorLedger(Path("errors.jsonl"), read=False)))
    if not files:
        raise SystemExit(f"no audio in {folder}")
    return files


def write_speech(files: list[Path], seconds: float, path: Path) -> None:
    """Write a file of clips one after the other until it is long enough; files that cannot be read are left out."""
    left = int(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1) as out:
        while True:
            before = left
            for file in files:
                samples = _speech(file)[:left]
                out.write(samples)
                left -= len(samples)
                if left <= 0:
                    return
            if left == before:
                raise SystemExit(f"none of {len(files)} files of speech can be read")


def _speech(file: Path) -> np.ndarray[Any, Any]:
    try:
        info = audio_info(file)
        return read_clip(Clip(file.name, str(file), 0.0, info.seconds, info.sample_rate), RATE)
    except AudioError as error:
        print(f"left out: {file.name}: {error}", file=sys.stderr)
        return np.empty(0, np.float32)


def distances(name: str, files: list[Path], folder: Path) -> dict[str, Any]:
    """Return relative differences of chunks from the whole by context and layer."""
    path = folder / "part.wav"
    write_speech(files, PART_SECONDS, path)
    model = load(name)

    def features(settings: Settings) -> np.ndarray[Any, Any]:
        ((_, found),) = model.stream([path], settings=settings)
        return found.double().numpy()

    whole = features(Settings(chunk_seconds=2 * PART_SECONDS))
    rows = []
    for context in CONTEXTS:
        cut = features(Settings(chunk_seconds=CHUNK_SECONDS, context_seconds=context))
        error = np.sqrt(((cut - whole) ** 2).mean((1, 2)) / (whole**2).mean((1, 2)))
        rows.append({"context_seconds": context, "by_layer": error.tolist()})
    return {"model": Path(name).name, "chunk_seconds": CHUNK_SECONDS, "seconds": PART_SECONDS, "rows": rows}


def memory(files: list[Path], hours: float, layers: str, folder: Path) -> dict[str, Any]:
    """Return the peak memory of a process that extracts a file of so many hours, and how fast it was."""
    write_speech(files, hours * 3600, folder / "long.flac")
    config = ModelConfig(conv.Config(), transformer.Config(), RATE)
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(folder / "base")
    command = [sys.executable, __file__, "--child", str(folder / "long.flac"), str(folder / "base"), layers]
    done = subprocess.run([*command, str(folder / "f")], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"hours": hours, "layer": layers, **answer}


def child(audio: str, model: str, layers: str, out: str) -> None:
    """Extract in this process and print the peaks."""
    import time

    from audio_ssl.features.extract import extract

    started = time.perf_counter()
    extract(Path(audio), model, Path(out), layers=layers, format="npy")
    size = sum(path.stat().st_size for path in Path(out).rglob("*.npy"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - started
    print(json.dumps({"peak_bytes": peak, "feature_bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()
