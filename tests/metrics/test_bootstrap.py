import numpy as np
import pytest
from scipy import stats

from audio_ssl.metrics.additive import get_metric
from audio_ssl.metrics.bootstrap import cluster_bootstrap, cluster_sums, difference_interval, replicate_sums


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def clusters(rng, count):
    return np.stack([rng.gamma(2.0, size=count) * 10, np.full(count, 10.0)], axis=1)


@pytest.mark.parametrize(("count", "method"), [(12, "BCa"), (40, "percentile")])
def test_intervals_agree_with_scipy(count, method):
    sums = clusters(np.random.default_rng(0), count)
    ours = cluster_bootstrap(sums, mean, 40_000, np.random.default_rng(1))
    theirs = stats.bootstrap(
        (sums[:, 0] / 10,), np.mean, n_resamples=40_000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(sums[:, 0].mean() / 10)
    assert ours.low == pytest.approx(theirs.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.high, abs=0.03)


def test_clips_of_one_speaker_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    rates = rng.gamma(4.0, 0.05, size=25)
    per_clip = np.concatenate([np.stack([rng.poisson(rate * 20, 40), np.full(40, 20.0)], 1) for rate in rates])
    speakers = np.repeat([f"s{i}" for i in range(25)], 40)
    by_speaker = cluster_bootstrap(cluster_sums(per_clip, speakers)[0], mean)
    by_clip = cluster_bootstrap(per_clip, mean)
    assert by_speaker.high - by_speaker.low > 3 * (by_clip.high - by_clip.low)


def test_coverage_is_near_what_was_asked_for():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = cluster_bootstrap(clusters(rng, 30), mean, 500, rng)
        hits += interval.low <= 2.0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.98


def test_the_generator_decides():
    sums = clusters(np.random.default_rng(0), 30)
    first, again = (cluster_bootstrap(sums, mean, 200, np.random.default_rng(5)) for _ in range(2))
    assert first == again != cluster_bootstrap(sums, mean, 200, np.random.default_rng(6))


def test_one_cluster_has_no_interval():
    interval = cluster_bootstrap(np.array([[3.0, 10.0]]), mean)
    assert interval.value == 0.3
    assert np.isnan(interval.low)


def test_undefined_replicates_are_left_out():
    metric = get_metric("wer")
    sums = np.array([[0, 0, 1.0, 0]] * 3 + [[1, 0, 0, 10.0]])
    interval = cluster_bootstrap(sums, metric.score, 500)
    assert interval.value == 40.0
    assert np.isfinite([interval.low, interval.high]).all()


def test_sums_by_cluster_and_their_replicates():
    sums, names = cluster_sums(np.array([[1.0], [2.0], [4.0]]), ["b", "a", "b"])
    assert names == ["a", "b"]
    assert sums.tolist() == [[2.0], [5.0]]
    assert set(replicate_sums(sums, 200, np.random.default_rng(0))[:, 0]) == {4.0, 7.0, 10.0}


def test_the_difference_of_a_group_with_itself_spans_zero():
    sums = clusters(np.random.default_rng(0), 30)
    interval = difference_interval(sums, sums, mean)
    assert interval.value == 0.0
    assert interval.low < 0 < interval.high
