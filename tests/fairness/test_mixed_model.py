import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import t, ttest_ind

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.mixed_model import fit_mixed_model
from audio_ssl.fairness.poisson import integrate


def simulate(seed, speakers=40, clips=30, ratio=1.0, slope=0.0, sd=0.5, rate=0.15):
    """Clips in turns F and M; returns errors, words, speakers, group, covariate."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(speakers), clips)
    group = (codes % 2).astype(float)
    covariate = rng.normal(size=len(codes))
    words = 1.0 + rng.poisson(15, len(codes))
    effects = sd * rng.normal(size=speakers)
    mean = words * rate * np.exp(np.log(ratio) * group + slope * covariate + effects[codes])
    return rng.poisson(mean).astype(float), words, codes, group, covariate


def same(first, second, rel=1e-6):
    for name, interval in first.ratios.items():
        assert second.ratios[name] == pytest.approx(interval, rel=rel)
    assert second.speaker_sd == pytest.approx(first.speaker_sd, rel=1e-3)


@pytest.mark.parametrize(
    ("errors", "expected", "sd"), [(0, 3, 0.5), (0, 200, 2), (7, 2, 1), (900, 700, 0.3), (4, 4, 3)]
)
def test_the_integral_is_that_of_quad(errors, expected, sd):
    def integrand(effect, power=0):
        density = np.exp(-0.5 * (effect / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        return np.exp(errors * effect - expected * np.exp(effect) - top + power * effect) * density

    grid = np.linspace(-40, 10, 100_001)
    top = np.max(errors * grid - expected * np.exp(grid) - 0.5 * (grid / sd) ** 2)
    peak = grid[np.argmax(errors * grid - expected * np.exp(grid) - 0.5 * (grid / sd) ** 2)]
    whole, first, second = (
        quad(integrand, peak - 12 * sd, peak + 12 * sd, args=(power,), points=[peak], epsrel=1e-11, limit=500)[0]
        for power in range(3)
    )
    ours = integrate(np.array([float(errors)]), np.array([float(expected)]), sd)
    assert ours.log_value[0] == pytest.approx(np.log(whole) + top, abs=1e-7)
    assert ours.rate[0] == pytest.approx(first / whole, rel=1e-6)
    assert ours.rate_variance[0] == pytest.approx(second / whole - (first / whole) ** 2, rel=1e-5)


def test_the_likelihood_is_that_of_quad():
    errors, words, speakers, group, covariate = simulate(0, speakers=6, clips=3)
    found = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
    sd = found.speaker_sd
    assert sd > 0.1
    # The intercept is not told: it is where the likelihood is highest.
    best = max(
        _brute(errors, words, speakers, intercept, found, group, covariate, sd) for intercept in np.arange(-3, 0, 0.01)
    )
    assert found.log_likelihood == pytest.approx(best, abs=1e-3)
    assert found.log_likelihood >= best - 1e-9


def _brute(errors, words, speakers, intercept, found, group, covariate, sd):
    total = 0.0
    predictor = np.log(words) + intercept + group * np.log(found.ratios["F"].value)
    predictor += covariate * np.log(found.ratios["length"].value)
    effects = np.linspace(-8 * sd, 8 * sd, 801)
    for speaker in np.unique(speakers):
        mine = speakers == speaker
        logs = predictor[mine][:, None] + effects
        terms = errors[mine][:, None] * logs - np.exp(logs) - gammaln(errors[mine] + 1)[:, None]
        density = np.exp(terms.sum(0) - 0.5 * (effects / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        total += np.log(density.sum() * (effects[1] - effects[0]))
    return total


def test_truth_is_recovered():
    ratios, slopes, sds, covered = [], [], [], []
    for seed in range(40):
        errors, words, speakers, group, covariate = simulate(seed, speakers=30, clips=15, ratio=1.4, slope=0.2)
        found = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
        assert found.converged
        ratios.append(np.log(found.ratios["F"].value))
        slopes.append(np.log(found.ratios["length"].value))
        sds.append(found.speaker_sd)
        covered.append([found.ratios["F"].low < 1.4 < found.ratios["F"].high])
        covered[-1].append(found.ratios["length"].low < np.exp(0.2) < found.ratios["length"].high)
        covered[-1].append(found.speaker_sd_low < 0.5 < found.speaker_sd_high)
    # Four Monte Carlo standard errors.
    assert np.mean(ratios) == pytest.approx(np.log(1.4), abs=4 * np.std(ratios) / 40**0.5)
    assert np.mean(slopes) == pytest.approx(0.2, abs=4 * np.std(slopes) / 40**0.5)
    assert np.mean(sds) == pytest.approx(0.5, abs=0.03)
    assert np.mean(covered, 0) == pytest.approx([0.95] * 3, abs=4 * (0.95 * 0.05 / 40) ** 0.5)


def test_without_spread_it_is_a_poisson_regression():
    api = pytest.importorskip("statsmodels.api")
    errors, words, speakers, group, covariate = simulate(4, ratio=1.3, slope=0.3, sd=0.0)
    found = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
    assert found.speaker_sd == 0
    assert found.speaker_sd_low == 0 < found.speaker_sd_high < 0.2
    assert any("plain Poisson" in note for note in found.notes)
    columns = api.add_constant(np.stack([group, covariate], 1))
    theirs = api.GLM(errors, columns, family=api.families.Poisson(), offset=np.log(words)).fit()
    ours = np.log([found.ratios["F"].value, found.ratios["length"].value])
    np.testing.assert_allclose(ours, theirs.params[1:], atol=1e-5)
    assert found.log_likelihood == pytest.approx(theirs.llf, abs=1e-6)


def test_the_ratio_is_near_that_of_estimating_equations():
    api = pytest.importorskip("statsmodels.api")
    errors, words, speakers, group, covariate = simulate(4, speakers=100, ratio=1.5, slope=0.1)
    found = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
    columns = api.add_constant(np.stack([group, covariate], 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = api.GEE(
            errors,
            columns,
            groups=speakers,
            family=api.families.Poisson(),
            cov_struct=api.cov_struct.Exchangeable(),
            offset=np.log(words),
        ).fit()
    error = np.log(found.ratios["F"].high / found.ratios["F"].value) / 2
    assert np.log(found.ratios["F"].value) == pytest.approx(theirs.params[1], abs=0.5 * error)
    assert np.log(found.ratios["length"].value) == pytest.approx(theirs.params[2], abs=0.01)
    assert error == pytest.approx(theirs.bse[1], rel=0.25)


def test_the_order_of_clips_does_not_matter():
    errors, words, speakers, group, covariate = simulate(5)
    order = np.random.default_rng(0).permutation(len(errors))
    design = {"F": group, "length": covariate}
    shuffled = {name: column[order] for name, column in design.items()}
    found = fit_mixed_model(errors, words, speakers, design)
    other = fit_mixed_model(errors[order], words[order], 200 - 3 * speakers[order], shuffled)
    same(found, other)
    assert other.log_likelihood == pytest.approx(found.log_likelihood, rel=1e-9)
    assert other.dispersion == pytest.approx(found.dispersion, rel=1e-6)


def test_clips_of_a_speaker_may_be_merged():
    errors, words, speakers, group, _ = simulate(6)
    found = fit_mixed_model(errors, words, speakers, {"F": group})
    merged = [np.bincount(speakers, values) for values in (errors, words)]
    other = fit_mixed_model(*merged, np.arange(40), {"F": np.arange(40) % 2})
    same(found, other, rel=1e-9)
    assert np.isnan(other.dispersion)
    assert (found.clips, found.speakers, other.clips) == (1200, 40, 40)


def test_sums_of_speakers_give_what_clips_give():
    errors, words, speakers, group, covariate = simulate(7, slope=0.0)
    quick = fit_mixed_model(errors, words, speakers, {"F": group})
    # A covariate of almost no effect forces the slow way.
    covariate = covariate * 1e-3
    slow = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
    assert slow.ratios["F"].value == pytest.approx(quick.ratios["F"].value, rel=0.01)
    assert slow.log_likelihood == pytest.approx(quick.log_likelihood, abs=3)
    assert slow.log_likelihood > quick.log_likelihood


def test_the_unit_of_a_column_is_that_given():
    errors, words, speakers, group, covariate = simulate(8, slope=0.4)
    found = fit_mixed_model(errors, words, speakers, {"F": group, "length": covariate})
    other = fit_mixed_model(errors, words, speakers, {"F": 1 - group, "length": 1000 + 10 * covariate})
    assert other.ratios["length"].value == pytest.approx(found.ratios["length"].value ** 0.1, rel=1e-6)
    assert other.ratios["F"].low == pytest.approx(1 / found.ratios["F"].high, rel=1e-6)
    assert other.p_values == pytest.approx(found.p_values, rel=1e-5)


def test_bursts_widen_what_is_compared_within_speakers():
    rng = np.random.default_rng(9)
    _, words, speakers, group, covariate = simulate(9)
    mean = words * 0.15 * np.exp(0.3 * rng.normal(size=40))[speakers]
    calm = fit_mixed_model(rng.poisson(mean), words, speakers, {"F": group, "length": covariate})
    bursts = rng.poisson(mean * rng.gamma(0.5, 2.0, len(mean)))
    found = fit_mixed_model(bursts, words, speakers, {"F": group, "length": covariate})
    assert calm.dispersion == pytest.approx(1, abs=0.2)
    assert found.dispersion > 2

    def width(model):
        return np.log(model.ratios["length"].high / model.ratios["length"].low)

    assert width(found) / width(calm) == pytest.approx(found.dispersion**0.5, rel=0.2)


def test_a_group_without_errors_has_no_estimate():
    errors, words, speakers, group, covariate = simulate(10)
    found = fit_mixed_model(errors * group, words, speakers, {"F": group, "length": covariate})
    assert not found.converged
    assert np.isnan(found.ratios["F"].value)
    assert np.isnan(found.p_values["length"])
    assert found.notes == ("no estimate: all errors are where `F` is 1, so a ratio would be 0 or infinite",)


def test_two_of_three_groups_without_errors_have_no_estimate():
    errors, words, speakers, _, _ = simulate(11)
    first, second = (speakers % 3 == 0).astype(float), (speakers % 3 == 1).astype(float)
    found = fit_mixed_model(errors * (speakers % 3 == 2), words, speakers, {"young": first, "old": second})
    assert not found.converged
    assert "`young`, `old`" in found.notes[0]


def test_a_group_with_one_error_is_estimated():
    errors, words, speakers, group, _ = simulate(12)
    errors[group == 1] = 0
    errors[np.flatnonzero(group == 1)[0]] = 1
    found = fit_mixed_model(errors, words, speakers, {"F": group})
    assert found.converged
    assert 0 < found.ratios["F"].low < found.ratios["F"].value < 0.01 < 1


def test_one_group_alone_has_a_spread():
    errors, words, speakers, _, _ = simulate(13)
    found = fit_mixed_model(errors, words, speakers, {})
    assert found.ratios == {}
    assert found.speaker_sd_low < 0.5 < found.speaker_sd_high


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"errors": np.zeros(60)}, "no errors in 60 clips"),
        ({"errors": np.full(60, -1.0)}, "`errors` must be 0 or more"),
        ({"errors": np.ones(59)}, "`errors` must have one number for each of 60 clips"),
        ({"words": np.zeros(60)}, "`words` must be above 0"),
        ({"words": np.full(60, np.nan)}, "`words` must be finite, but is not in 60 of 60"),
        ({"speakers": np.zeros(60, int)}, r"too few speakers \(1\)"),
        ({"speakers": np.repeat([0, 1], 30)}, r"too few speakers \(2\).*at least 3"),
        ({"speakers": np.repeat([-1, 0, 1, 2], 15)}, "`speakers` must be 0 or more.*unknown speakers"),
        ({"speakers": np.full(60, np.nan)}, "`speakers` must have one whole number"),
        ({"speakers": np.zeros(0, int)}, "one clip or more"),
        ({"length": np.full(60, 3.0)}, "column `length` is 3 in every clip"),
        ({"length": np.full(60, np.inf)}, "`length` must be finite"),
        ({"length": 5 - 2.0 * np.repeat([0, 0, 1, 1], 15)}, "column `length` is a sum of multiples of `F`"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, reason):
    group = np.repeat([0.0, 0.0, 1.0, 1.0], 15)
    given = {"errors": np.tile([1.0, 0.0, 2.0], 20), "words": np.full(60, 9.0), "speakers": np.repeat(np.arange(4), 15)}
    given |= {"length": np.tile([0.0, 1.0, 5.0, 2.0], 15)} | change
    if reason.endswith("at least 3"):
        given["length"] = np.tile([0.0, 1.0], 30)
    design = {"F": group, "length": given.pop("length")}
    with pytest.raises(UserError, match=reason):
        fit_mixed_model(**given, design=design)


def test_few_speakers_do_not_reject_too_often():
    rejected = 0
    for seed in range(80):
        errors, words, speakers, group, _ = simulate(1000 + seed, speakers=10)
        rejected += fit_mixed_model(errors, words, speakers, {"F": group}).p_values["F"] < 0.05
    assert 1 <= rejected <= 11  # 4 expected; as a z-test does not pass below 5 speakers a group


def test_the_p_value_is_of_student_and_agrees_with_the_interval():
    errors, words, speakers, group, _ = simulate(14, speakers=6)
    found = fit_mixed_model(errors, words, speakers, {"F": group})
    value, low, high = np.log(found.ratios["F"])
    error = (high - low) / 2 / t.ppf(0.975, 4)
    assert found.p_values["F"] == pytest.approx(2 * t.sf(abs(value) / error, 4), rel=1e-9)


def test_many_speakers_of_one_clip():
    errors, words, speakers, group, _ = simulate(15, speakers=3000, clips=1, ratio=1.5)
    found = fit_mixed_model(errors, words, speakers, {"F": group})
    assert found.converged
    # Four standard errors.
    error = np.log(found.ratios["F"].high / found.ratios["F"].value) / 1.96
    assert np.log(found.ratios["F"].value) == pytest.approx(np.log(1.5), abs=4 * error)
    assert error < 0.04
    assert found.speaker_sd == pytest.approx(0.5, abs=0.1)
    assert np.isnan(found.dispersion)


def test_extreme_numbers_end_without_a_warning():
    errors, words, speakers, group, covariate = simulate(16)
    covariate[0] = 1e6
    found = fit_mixed_model(1e6 * errors, words, speakers, {"F": group, "length": covariate})
    assert np.isfinite(found.ratios["F"].value)
    assert 0.2 < found.speaker_sd < 2


def test_a_column_may_be_called_words():
    errors, words, speakers, group, covariate = simulate(17, slope=0.3)
    found = fit_mixed_model(errors, words, speakers, {"errors": group, "words": covariate})
    assert found.ratios["words"].low < np.exp(0.3) < found.ratios["words"].high


def test_two_speakers_with_all_errors_are_said():
    errors, words, speakers, group, _ = simulate(18, speakers=200)
    errors[speakers > 1] = 0
    found = fit_mixed_model(errors, words, speakers, {"F": group})
    assert found.speaker_sd > 2
    assert any("variance between speakers is too large" in note for note in found.notes)
    assert found.ratios["F"].low < 1 < found.ratios["F"].high


def test_the_spread_is_that_of_restricted_likelihood():
    """With a million words a clip, counts are as good as log rates, and REML is a variance over n - p."""
    rng = np.random.default_rng(1)
    speakers, words = 8, np.full(8, 1e6)
    group = (np.arange(speakers) < 4).astype(float)
    errors = np.round(words * np.exp(np.log(0.1) + rng.normal(0, 0.3, speakers) + 0.2 * group))
    found = fit_mixed_model(errors, words, np.arange(speakers), {"F": group})
    rates = np.log(errors / words)
    halves = rates[group == 1], rates[group == 0]
    spread = np.sqrt(sum(((half - half.mean()) ** 2).sum() for half in halves) / (speakers - 2))
    assert found.speaker_sd == pytest.approx(spread, rel=1e-3)
    assert found.p_values["F"] == pytest.approx(ttest_ind(*halves).pvalue, abs=1e-3)
