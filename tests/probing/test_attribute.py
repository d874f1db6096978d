"""What layers tell of speakers: planted values, voices alone, noise, and a code counted by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.tasks import attribute
from audio_ssl.probing.tasks._unseen_speakers import (
    RIDGES,
    code_lengths,
    cross_validate,
    deal_blocks,
    deal_folds,
    log_posteriors,
    shuffle_values,
    uniform_bits,
)

DIM = 12


def clips_of(speakers, per_speaker=6, values="FM", column="gender"):
    return [
        Clip(f"{s}-{i}", "x.wav", 0.0, 1.0, 16000, speaker=f"s{s}", **_recorded(column, values[s % len(values)]))
        for s in range(speakers)
        for i in range(per_speaker)
    ]


def _recorded(column, value):
    return {column: value} if column == "gender" else {"extra": {column: value}}


def value_numbers(clips, values="FM"):
    return torch.tensor([int(clip.speaker[1:]) % len(values) for clip in clips]).float()


def voices(clips, generator, dim=DIM):
    """Return what is the same in all clips of a speaker and says nothing else."""
    speakers = sorted({clip.speaker for clip in clips})
    table = 3.0 * torch.randn(len(speakers), dim, generator=generator)
    return table[[speakers.index(clip.speaker) for clip in clips]]


def asked(clips, *layers, **settings):
    task = attribute.build(attribute.Config(**{"shuffles": 3, "orders": 2, **settings}))
    kept, _ = task.usable(clips)
    assert kept == clips
    return task.answer(clips, list(range(len(layers))), lambda layer: layers[layer]), task


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_what_is_planted_is_told_and_neither_voices_nor_noise_are(generator):
    clips = clips_of(40)
    noise = torch.randn(len(clips), DIM, generator=generator)
    planted = noise.clone()
    planted[:, 0] += 8 * value_numbers(clips)
    voiced = noise + voices(clips, generator)
    found, _ = asked(clips, noise, voiced, planted)
    in_noise, in_voices, told = found.representation.layers
    assert told.value > 99
    assert told.low > 95
    assert told.compression > 3
    assert told.selectivity == pytest.approx(told.value - told.control)
    for one in (in_noise, in_voices):
        # The voice says who of the known speakers it is, and nothing of those that were not heard.
        assert 30 < one.value < 70
        assert one.compression < 1.1
    for one in found.representation.layers:
        assert 35 < one.control < 65
        assert one.control_low <= one.control <= one.control_high
        assert one.control_compression < 1.1
    assert found.representation.chosen == (2,) * 5
    assert found.metrics["uar"].value == pytest.approx(told.value)
    assert found.representation.majority_accuracy == 50.0
    assert found.representation.warning is None


def test_the_same_voices_would_be_told_if_folds_tore_speakers_apart(generator):
    # What the folds guard against: with clips of a speaker on both sides, the voice gives the value away.
    clips = clips_of(40)
    features = torch.randn(len(clips), 64, generator=generator) + voices(clips, generator, 64)
    right = value_numbers(clips).numpy()
    torn = np.arange(len(clips)) % 2 == 0
    fitted = LogisticRegression(max_iter=2000).fit(features[torn].numpy(), right[torn])
    assert fitted.score(features[~torn].numpy(), right[~torn]) > 0.9
    assert asked(clips, features)[0].representation.layers[0].value < 65


def test_three_values_of_any_column(generator):
    values = ("north", "south", "west")
    clips = clips_of(18, values=values, column="accent")
    features = 0.5 * torch.randn(len(clips), DIM, generator=generator)
    features[torch.arange(len(clips)), value_numbers(clips, values).long()] += 4
    found, task = asked(clips, features, column="accent")
    assert task.classes == list(values)
    assert found.representation.layers[0].value > 95
    assert found.representation.majority_uar == pytest.approx(100 / 3)
    assert task.hypothesis(found.scores[0]) == "north"


def test_few_speakers_have_a_number_a_warning_and_no_interval(generator):
    clips = clips_of(8)
    features = torch.randn(len(clips), DIM, generator=generator)
    features[:, 0] += 9 * value_numbers(clips)
    found, _ = asked(clips, features)
    assert found.representation.layers[0].value > 90
    assert math.isnan(found.representation.layers[0].low)
    assert math.isnan(found.metrics["accuracy"].high)
    assert found.representation.folds == 4
    assert "fewer than 5 speakers (F: 4, M: 4)" in found.representation.warning
    assert "4 folds instead of 5" in found.representation.warning


def test_what_cannot_be_asked_is_left_out_with_the_reason():
    task = attribute.build(attribute.Config())
    clips = clips_of(8, per_speaker=1)
    torn = [Clip(f"t{v}", "x.wav", 0.0, 1.0, 16000, speaker="both", gender=v) for v in "FM"]
    rare = [Clip("r", "x.wav", 0.0, 1.0, 16000, speaker="rare", gender="X")]
    kept, left = task.usable([*clips, *torn, *rare])
    assert kept == clips
    assert [reason for _, reason in left] == [
        *["the speaker `both` is recorded as F and M"] * 2,
        "the gender `X` has 1 speaker, fewer than 3",
    ]
    assert task.why_not(Clip("u", "x.wav", 0.0, 1.0, 16000, speaker="s", gender="Unknown")) == "no `gender`"
    assert task.why_not(Clip("u", "x.wav", 0.0, 1.0, 16000, speaker="s")) == "no `gender`"
    assert task.why_not(Clip("u", "x.wav", 0.0, 1.0, 16000, gender="F")) == "no speaker"
    with pytest.raises(
        UserError, match=r"at least 3 speakers each are needed; .*`F` 2, `M` 2; 1 speakers are recorded"
    ):
        task.usable([*clips[:4], *torn])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 2}, "`folds` must be at least 3, but is 2"),
        ({"shuffles": 0}, "`shuffles` must be at least 1"),
        ({"orders": 0}, "`orders` must be at least 1"),
        ({"column": "speaker"}, "held-out speakers cannot be identified"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        attribute.build(attribute.Config(**settings))


def test_folds_and_shuffles_keep_speakers_together():
    rng = np.random.default_rng(0)
    clips = clips_of(23, per_speaker=4)[:-2]
    speakers = [clip.speaker for clip in clips]
    right = value_numbers(clips).long().numpy()
    folds = deal_folds(speakers, ["FM"[one] for one in right], 5, rng)
    dealt = [shuffle_values(speakers, right, folds, rng) for _ in range(20)]
    for labels in (folds, *dealt):
        assert all(len({labels[i] for i, one in enumerate(speakers) if one == name}) == 1 for name in set(speakers))
    for fold in range(5):
        # Every fold has its share of both, before and after.
        held = {int(s[1:]) for s, f in zip(speakers, folds, strict=True) if f == fold}
        women = sum(s % 2 == 0 for s in held)
        assert women in (2, 3)
        assert len(held) - women in (2, 3)
        for labels in dealt:
            given = {s: v for s, v, f in zip(speakers, labels, folds, strict=True) if f == fold}
            assert sum(v == 0 for v in given.values()) == women
    assert all(not np.array_equal(one, right) for one in dealt)
    assert len({one.tobytes() for one in dealt}) > 10


def test_every_block_has_speakers_of_its_own():
    speakers = [f"s{s}" for s in range(40) for _ in range(1 + s % 3)]
    blocks = deal_blocks(speakers, np.random.default_rng(0))
    assert sorted(np.concatenate(blocks)) == list(range(len(speakers)))
    heard = [{speakers[i] for i in block} for block in blocks]
    assert all(not a & b for i, a in enumerate(heard) for b in heard[:i])
    assert len(heard[0]) == 1
    # Half the clips are known when the last block is sent, as far as whole speakers allow.
    assert len(blocks[-1]) == pytest.approx(len(speakers) / 2, abs=3)
    # Forty speakers allow no blocks of a thousandth.
    assert len(blocks) == 7
    assert [len(one) for one in deal_blocks(["a"] * 5 + ["b"] * 5, np.random.default_rng(0))] == [5, 5]


def test_a_code_without_features_is_the_rule_of_laplace():
    # One clip a speaker, in blocks of 2, 1 and 2; features that do not vary.
    labels = torch.tensor([[0, 1, 1, 1, 0]])
    blocks = [np.array([0, 1]), np.array([2]), np.array([3, 4])]
    found = code_lengths(torch.ones(5, 3), labels, np.arange(5), blocks, 2)
    # Uniform: 2 bits. Then (1 + 1) / (2 + 2), then (2 + 1) / (3 + 2) and (1 + 1) / (3 + 2).
    by_hand = 2 - math.log2(2 / 4) - math.log2(3 / 5) - math.log2(2 / 5)
    assert found.item() == pytest.approx(by_hand, abs=1e-5)
    assert uniform_bits(5, 2) == 5.0


def test_a_code_mixes_the_ridges_by_how_well_they_have_done():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (1, 30), generator=generator)
    features = torch.randn(30, 4, generator=generator)
    features[:, 0] += 4 * labels[0]
    blocks = [np.arange(4), np.arange(4, 14), np.arange(14, 30)]
    chances = []
    for known, block in ((4, blocks[1]), (14, blocks[2])):
        said = [
            log_posteriors(features[:known], labels[:, :known], torch.tensor([ridge]), 2, 2.0, features[block])[0][0]
            for ridge in RIDGES
        ]
        chances.append([math.exp(one.gather(1, labels[0, block][:, None]).sum().item()) for one in said])
    even = 1 / len(RIDGES)
    first = sum(even * p for p in chances[0])
    weights = [0.5 * even * p / first + 0.5 * even for p in chances[0]]
    second = sum(w * p for w, p in zip(weights, chances[1], strict=True))
    found = code_lengths(features, labels, np.arange(30) // 2, blocks, 2).item()
    assert found == pytest.approx(4 - math.log2(first) - math.log2(second), abs=1e-4)
    assert found < 20


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dim", [5, 40])
@pytest.mark.parametrize("ridge", [1.0, 1e-2])
def test_probabilities_are_those_of_scikit_learn(classes, dim, ridge):
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (2, 30), generator=generator)
    train = 3 + 2 * torch.randn(30, dim, generator=generator)
    train[:, 0] += labels[0]
    train[:, 1] = 7.0
    other = 3 + 2 * torch.randn(9, dim, generator=generator)
    other[:, 1] = 7.0
    (found,) = log_posteriors(train, labels, torch.full((2,), ridge), classes, 1.5, other)
    mean, scale = train.mean(0), train.std(0, correction=0) * dim**0.5
    scale[1] = 1.0
    inputs = torch.cat([(train - mean) / scale, torch.zeros(classes, dim)]).double().numpy()
    weights = np.r_[np.ones(30), np.full(classes, 1.5)]
    for run in range(2):
        # Two classes have one weight there, and half of it each here.
        model = LogisticRegression(C=(2 if classes == 2 else 1) / ridge, tol=1e-10, max_iter=10000)
        model.fit(inputs, np.r_[labels[run].numpy(), np.arange(classes)], sample_weight=weights)
        expected = model.predict_proba(((other - mean) / scale).double().numpy())
        np.testing.assert_allclose(found[run].exp().numpy(), expected, atol=1e-3)


def folds_of(generator, speakers=12, per_speaker=3):
    """Features, labels of one labelling, speakers and four folds of three speakers each."""
    people = np.repeat(np.arange(speakers), per_speaker)
    labels = torch.from_numpy(people % 3 == 0).long()[None]
    return torch.randn(len(people), DIM, generator=generator), labels, people, people // 3


def test_the_ridge_of_a_fold_is_chosen_without_its_clips(generator):
    features, labels, people, folds = folds_of(generator)
    before = cross_validate(features, labels, people, folds, 2).inner_loss
    features[torch.from_numpy(folds == 0)] *= 10.0
    after = cross_validate(features, labels, people, folds, 2).inner_loss
    assert float(after[0, 0]) == pytest.approx(float(before[0, 0]), rel=1e-6)
    assert not torch.isclose(after[0, 1:], before[0, 1:], rtol=1e-3).all()


def test_without_features_no_value_is_likelier_however_many_clips_it_has(generator):
    features, labels, people, folds = folds_of(generator)
    scores = cross_validate(torch.zeros_like(features), labels, people, folds, 2).scores
    assert torch.allclose(scores, torch.full_like(scores, math.log(0.5)), atol=1e-3)
