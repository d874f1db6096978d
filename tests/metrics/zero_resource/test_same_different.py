import numpy as np
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.same_different import same_different


def tokens(seed=0, noise=0.8):
    rng = np.random.default_rng(seed)
    centres, shifts = {w: rng.normal(size=8) for w in "abcd"}, {s: 0.8 * rng.normal(size=8) for s in "uv"}
    rows = [(w, s) for w in "abcd" for s in "uv" for _ in range(3)]
    frames = [torch.tensor(centres[w] + shifts[s] + noise * rng.normal(size=(1, 8))) for w, s in rows]
    return [w for w, _ in rows], [s for _, s in rows], frames


def precision(ranked):
    places = np.flatnonzero(ranked) + 1
    return 100 * np.mean(np.arange(1, len(places) + 1) / places)


def test_equal_to_ranking_the_pairs():
    words, speakers, frames = tokens()
    rows = []
    for i in range(len(words)):
        for j in range(i):
            distance = 1 - float(torch.nn.functional.cosine_similarity(frames[i][0], frames[j][0], 0))
            rows.append((distance, words[i] == words[j], speakers[i] == speakers[j]))
    rows.sort()
    result = same_different(words, speakers, frames)
    assert result.value == pytest.approx(precision([same for _, same, _ in rows]))
    assert result.across_speakers == pytest.approx(precision([s for _, s, one in rows if not (s and one)]))
    assert result.across_speakers < result.value < 100
    assert (result.same_pairs, result.same_pairs_across, result.different_pairs, result.words) == (60, 36, 216, 24)


def test_words_that_are_apart_are_all_found():
    result = same_different(*tokens(noise=0.0)[:2], [torch.eye(4)[[i // 6]] for i in range(24)])
    assert result.value == result.across_speakers == 100.0


def test_fewer_words_are_drawn_by_the_seed():
    results = [same_different(*tokens(), max_words=12, seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]
    assert results[0].words == 12


def test_without_right_or_wrong_pairs_there_is_no_score():
    result = same_different(["a", "a", "b"], ["u", "u", "u"], [torch.ones(1, 2)] * 3)
    assert np.isfinite(result.value)
    assert np.isnan(result.across_speakers)
    assert np.isnan(same_different([], [], []).value)


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match="must be as many, but are 1, 2, 1"):
        same_different(["a"], ["u", "v"], [torch.ones(1, 2)])
