import numpy as np
import pytest
import torch

from audio_ssl.data.frames import FrameGrid
from audio_ssl.probing import alignment
from audio_ssl.probing.alignment import TokenFrames, align
from audio_ssl.probing.head import greedy


def table(frames, classes, seed=0):
    return torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)


def path_of(found, frames):
    """Return the class of each frame, 0 where no token is said, given pairs of token and frames."""
    path = np.zeros(frames, dtype=int)
    for token, one in found:
        path[one.first : one.last] = token + 1
    return path


@pytest.mark.filterwarnings("ignore:.*deprecat")
@pytest.mark.parametrize("tokens", [[0], [2, 2, 2], [0, 1, 1, 3], [3, 0, 2, 1, 1, 0, 2]])
@pytest.mark.parametrize("seed", range(5))
def test_paths_are_those_of_torchaudio(tokens, seed):
    functional = pytest.importorskip("torchaudio.functional")
    scores = table(16, 5, seed)
    labels, likely = functional.forced_align(scores[None], torch.tensor([tokens]) + 1, blank=0)
    found = align(scores, tokens)
    path = path_of(zip(tokens, found, strict=True), 16)
    assert path.tolist() == labels[0].tolist()
    spans = functional.merge_tokens(labels[0], likely[0].exp())
    assert [(one.first, one.last) for one in found] == [(one.start, one.end) for one in spans]
    assert [one.probability for one in found] == pytest.approx([one.score for one in spans], abs=1e-6)


def test_the_best_classes_of_frames_are_their_own_alignment():
    scores = table(40, 6)
    tokens = greedy(scores.argmax(-1)).tolist()
    found = align(scores, tokens)
    assert path_of(zip(tokens, found, strict=True), 40).tolist() == scores.argmax(-1).tolist()
    # Viterbi over all states finds the same.
    assert alignment._viterbi(scores.numpy(), np.array(tokens) + 1) is not None
    likely = scores.amax(-1).exp()
    for one in found:
        assert one.probability == pytest.approx(float(likely[one.first : one.last].mean()))


def test_nothing_is_said_in_no_frames_and_too_few_frames_have_no_path():
    assert align(table(10, 4), []) == []
    assert align(table(0, 4), []) == []
    assert align(table(0, 4), [1]) is None
    assert align(table(3, 4), [1, 1]) is not None
    assert align(table(2, 4), [1, 1]) is None
    assert align(table(2, 4), [0, 1, 2]) is None


def test_states_far_from_the_best_are_left_out_of_long_clips(monkeypatch):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, 400)
    # A head that is right most of the time: a mark of each token, blanks around it.
    path = np.zeros(2400, dtype=int)
    path[np.arange(400) * 6 + 3] = tokens + 1
    scores = (torch.nn.functional.one_hot(torch.from_numpy(path), 6).float() * 4 + table(2400, 6) / 2).log_softmax(-1)
    wanted = tokens.tolist()
    wanted[7] = (wanted[7] + 1) % 5  # Not the greedy path.
    whole = align(scores, wanted)
    monkeypatch.setattr(alignment, "_MOST_CELLS", 0)
    monkeypatch.setattr(alignment, "_FEWEST_STATES", 64)
    assert align(scores, wanted) == whole


def test_seconds_are_around_the_middles_of_frames_and_inside_the_clip():
    grid = FrameGrid(16000, 320, 400)
    assert TokenFrames(10, 12, 1.0).seconds(grid, 9.0) == (0.2025, 0.2425)
    assert TokenFrames(0, 1, 1.0).seconds(grid, 9.0) == (0.0025, 0.0225)
    assert TokenFrames(0, 3, 1.0).seconds(FrameGrid(16000, 320, 320, "center"), 0.04) == (0.0, 0.04)
