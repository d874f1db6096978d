"""Whether scores of summed counts are those of jiwer and sacrebleu for a whole corpus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jiwer
import numpy as np
import sacrebleu

from audio_ssl.metrics.registry import get_metric

WORDS = ["a", "the", "sea", "fish", "swims", "under", "stones", "and", "bread", "it's", "3.5", "times,", "so", "what?"]

Corpus = Callable[[list[str], list[str]], float]


def run(pairs: int) -> list[dict[str, Any]]:
    """Return a row a metric: its score of random sentence pairs beside the library's."""
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, rng.integers(4, 30))) for _ in range(pairs)]
    answers = [_mishear(reference, rng) for reference in references]
    libraries: dict[str, tuple[str, Corpus]] = {
        "wer": ("jiwer.wer", lambda r, h: 100 * jiwer.wer(r, h)),
        "cer": ("jiwer.cer", lambda r, h: 100 * jiwer.cer(r, h)),
        "bleu": ("sacrebleu.corpus_bleu", lambda r, h: sacrebleu.corpus_bleu(h, [r]).score),
        "chrf": ("sacrebleu.corpus_chrf", lambda r, h: sacrebleu.corpus_chrf(h, [r]).score),
    }
    rows = []
    for name, (library, corpus) in libraries.items():
        ours = get_metric(name).corpus(zip(references, answers, strict=True))
        theirs = float(corpus(references, answers))
        rows.append(
            {"metric": name, "library": library, "pairs": pairs, "ours": ours, "difference": abs(ours - theirs)}
        )
    return rows


def _mishear(reference: str, rng: np.random.Generator) -> str:
    said = []
    for word in reference.split():
        draw = rng.random()
        said += [] if draw < 0.1 else [str(rng.choice(WORDS))] if draw < 0.25 else [word]
        said += [str(rng.choice(WORDS))] if draw > 0.92 else []
    return " ".join(said)
