import mir_eval

from audio_ssl.metrics.families.music import KEYS
from audio_ssl.metrics.registry import get_metric


def test_every_pair_of_keys_scores_as_in_mir_eval():
    metric = get_metric("key_score")
    for reference in KEYS:
        for hypothesis in KEYS:
            expected = mir_eval.key.weighted_score(reference, hypothesis)
            assert metric.corpus([(reference, hypothesis)]) == 100 * expected


def test_known_relations():
    corpus = get_metric("key_score").corpus
    assert [corpus([("C major", k)]) for k in ("C major", "G major", "A minor", "C minor", "F# major")] == [
        100.0,
        50.0,
        30.0,
        20.0,
        0.0,
    ]
