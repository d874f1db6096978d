"""Metrics of units: those of fairseq and ZeroSpeech, and equal to scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score

from audio_ssl.metrics.families.units import phone_terms, score_of, unit_bits
from audio_ssl.metrics.registry import metric_label

RNG = np.random.default_rng(0)


def counts(phones, codes):
    joint = np.zeros((phones.max() + 1, codes.max() + 1))
    np.add.at(joint, (phones, codes), 1)
    return joint


@pytest.mark.parametrize("seed", range(3))
def test_pnmi_and_purities_are_those_of_their_definitions(seed):
    rng = np.random.default_rng(seed)
    phones = rng.integers(0, 6, 500)
    codes = (phones * 2 + rng.integers(0, 4, 500)) % 11
    found = {terms.metric: score_of(counts(phones, codes), terms) for terms in phone_terms(counts(phones, codes))}
    assert found["pnmi"] == pytest.approx(100 * homogeneity_score(phones, codes))
    # As fairseq's comp_purity: of the joint distribution, the sum over one side of the largest of the other.
    shares = counts(phones, codes) / 500
    assert found["phone_purity"] == pytest.approx(100 * shares.max(0).sum())
    assert found["cluster_purity"] == pytest.approx(100 * shares.max(1).sum())


def test_units_that_say_all_and_nothing():
    def of(joint):
        return {one.metric: score_of(joint, one) for one in phone_terms(joint)}

    assert of(np.eye(4)) == {"pnmi": 100.0, "phone_purity": 100.0, "cluster_purity": 100.0}
    nothing = of(np.ones((4, 5)))
    assert nothing["pnmi"] == pytest.approx(0)
    assert (nothing["phone_purity"], nothing["cluster_purity"]) == (25.0, 20.0)
    # Codes and phones that do not occur change nothing.
    wide = np.zeros((6, 9))
    wide[:4, :4] = np.eye(4)
    assert of(wide) == of(np.eye(4))


def test_bits_are_the_entropy_of_zerospeech():
    units = RNG.choice(5, 1000, p=[0.5, 0.2, 0.2, 0.1, 0.0])
    occurs = np.bincount(units, minlength=5)
    shares = occurs[occurs > 0] / 1000
    entropy = -(shares * np.log2(shares)).sum()
    assert unit_bits(occurs)[units].sum() == pytest.approx(1000 * entropy)
    assert unit_bits(np.array([7.0, 0.0])).tolist() == [0.0, 0.0]


def test_names_are_those_of_the_papers():
    assert [metric_label(name) for name in ("pnmi", "unit_bitrate")] == ["PNMI", "bitrate"]
