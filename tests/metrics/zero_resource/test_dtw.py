import librosa
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.dtw import dtw, dtw_pairs


def sequences(seed, count, longest=12, dim=5):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randn(length, dim, generator=generator, dtype=torch.float64) for length in lengths]


def one_by_one(distances):
    """Fill the table and walk back, one pair, as ZeroSpeech's evaluation does."""
    rows, columns = distances.shape
    cost = np.full((rows + 1, columns + 1), np.inf)
    cost[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            cost[i + 1, j + 1] = distances[i, j] + min(cost[i, j], cost[i + 1, j], cost[i, j + 1])
    i, j, steps = rows, columns, 1
    while (i, j) != (1, 1):
        diagonal, left, up = cost[i - 1, j - 1], cost[i, j - 1], cost[i - 1, j]
        if diagonal <= left and diagonal <= up:
            i, j = i - 1, j - 1
        elif left <= up:
            j -= 1
        else:
            i -= 1
        steps += 1
    return cost[rows, columns], steps


def distances_of_frames(x, y, kind):
    distances = cdist(x, y, kind.replace("angular", "cosine"))
    return np.arccos((1 - distances).clip(-1, 1)) / np.pi if kind == "angular" else distances


@pytest.mark.parametrize("kind", ["cosine", "angular", "euclidean"])
def test_the_cost_of_single_frames_is_their_distance(kind):
    x = torch.tensor(np.random.default_rng(0).normal(size=(9, 1, 4)))
    pairs = list(np.ndindex(9, 9))
    expected = distances_of_frames(x[:, 0], x[:, 0], kind)
    np.testing.assert_allclose(dtw_pairs(list(x), list(x), pairs, kind).reshape(9, 9), expected, atol=1e-6)


def test_a_frame_of_zeros_is_at_a_right_angle_to_all():
    x = torch.tensor([[[1.0, 0]], [[0, 2]], [[-3, 0]], [[0, 0]]])
    found = dtw_pairs(list(x), list(x), [(0, other) for other in range(4)], "angular")
    assert found.tolist() == pytest.approx([0, 0.5, 1, 0.5])


@pytest.mark.parametrize("kind", ["cosine", "angular", "euclidean"])
def test_costs_equal_librosa_and_are_divided_by_the_steps(kind):
    items = sequences(0, 12)
    pairs = [(i, j) for i in range(12) for j in range(12)]
    ours = dtw_pairs(items, items, pairs, kind, batch_elements=300)
    for value, (i, j) in zip(ours.tolist(), pairs, strict=True):
        distances = distances_of_frames(items[i], items[j], kind)
        cost, steps = one_by_one(distances)
        assert value == pytest.approx(cost / steps, rel=1e-5, abs=1e-6)
        table = librosa.sequence.dtw(C=distances, backtrack=False)
        assert cost == pytest.approx(table[-1, -1])


def test_whole_costs_equal_librosa_in_a_padded_batch():
    generator = torch.Generator().manual_seed(0)
    distances = torch.rand(9, 8, 11, generator=generator, dtype=torch.float64)
    x_frames, y_frames = torch.randint(1, 9, (9,), generator=generator), torch.randint(1, 12, (9,), generator=generator)
    for subsequence in (False, True):
        ours = dtw(distances, x_frames, y_frames, subsequence, normalised=False)
        for index, (rows, columns) in enumerate(zip(x_frames.tolist(), y_frames.tolist(), strict=True)):
            table = distances[index, :rows, :columns].numpy()
            # librosa cannot take one row or column without transposing.
            if rows > 1 and columns > rows:
                theirs = librosa.sequence.dtw(C=table, subseq=subsequence, backtrack=False)
                expected = theirs[-1].min() if subsequence else theirs[-1, -1]
                assert float(ours[index]) == pytest.approx(expected)


def test_ties_count_the_steps_of_the_diagonal():
    distances = torch.zeros(1, 3, 5)
    distances[0, 0, 0] = 1.0
    # Two diagonal steps back from the end, then two along the border.
    assert one_by_one(distances[0].numpy()) == (1.0, 5)
    assert float(dtw(distances, torch.tensor([3]), torch.tensor([5]))) == pytest.approx(1 / 5)


def test_a_subsequence_is_found_where_it_is():
    item = torch.tensor(np.random.default_rng(0).normal(size=(20, 6)))
    stretched = item[5:12].repeat_interleave(2, 0)
    costs = dtw_pairs([item[5:12], stretched, item.flip(0)], [item], [(0, 0), (1, 0), (2, 0)], "cosine", True)
    assert costs[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert costs[2] > 0.05


def test_padding_and_batches_do_not_matter():
    items = sequences(1, 8)
    pairs = [(i, 7 - i) for i in range(8)]
    alone = [float(dtw_pairs(items, items, [pair])) for pair in pairs]
    assert dtw_pairs(items, items, pairs).tolist() == pytest.approx(alone, abs=1e-6)
    assert dtw_pairs(items, items, []).shape == (0,)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="sequence 1 has no frames"):
        dtw_pairs([torch.ones(2, 3), torch.ones(0, 3)], [torch.ones(2, 3)], [(0, 0)])
    with pytest.raises(UserError, match="sequence 0 has frames that are not finite"):
        dtw_pairs([torch.full((2, 3), torch.nan)], [torch.ones(2, 3)], [(0, 0)])
    with pytest.raises(UserError, match="unknown distance `cosin`"):
        dtw_pairs([torch.ones(2, 3)], [torch.ones(2, 3)], [(0, 0)], "cosin")
