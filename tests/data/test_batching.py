from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.data.batching import Batching, Update


def make(lengths: tuple[int, ...], **changes: int | None) -> Batching:
    values = {"hop_samples": 10, "crop_samples": 500, "update_samples": 2000, "batch_samples": 1000, "seed": 1}
    return Batching(lengths, **{**values, **changes})


LENGTHS = tuple(range(60, 900, 7))


def test_an_epoch_visits_every_clip_once() -> None:
    crops = [crop for update in make(LENGTHS).epoch(0) for micro in update for crop in micro]
    assert sorted(crop.clip for crop in crops) == list(range(len(LENGTHS)))


def test_same_seed_and_epoch_give_the_same_order_and_others_do_not() -> None:
    plan = make(LENGTHS)
    assert plan.epoch(3) == make(LENGTHS).epoch(3)
    assert plan.epoch(3) != plan.epoch(4)
    assert plan.epoch(3) != make(LENGTHS, seed=2).epoch(3)


@pytest.mark.parametrize("group_samples", [None, 500])
def test_memory_does_not_change_what_an_update_is_made_of(group_samples: int | None) -> None:
    def contents(batch_samples: int) -> list[list[tuple[int, int, int]]]:
        updates = make(LENGTHS, batch_samples=batch_samples, group_samples=group_samples).epoch(2)
        return [sorted((c.clip, c.start_samples, c.key) for micro in update for c in micro) for update in updates]

    assert contents(500) == contents(1000) == contents(100_000)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    hop=st.integers(1, 50),
    crop=st.integers(50, 1000),
    group=st.none() | st.integers(1, 3000),
    epoch=st.integers(0, 5),
)
def test_crops_lie_inside_their_clips_on_frame_starts_and_micro_batches_fit(
    lengths: list[int], hop: int, crop: int, group: int | None, epoch: int
) -> None:
    plan = make(tuple(lengths), hop_samples=hop, crop_samples=crop, batch_samples=2 * crop, group_samples=group)
    assert sorted(c.clip for update in plan.epoch(epoch) for micro in update for c in micro) == [*range(len(lengths))]
    for update in plan.epoch(epoch):
        for micro in update:
            assert max(c.num_samples for c in micro) * len(micro) <= 2 * crop
            for c in micro:
                assert c.start_samples % hop == 0
                assert c.start_samples + c.num_samples <= lengths[c.clip]
                assert c.num_samples == min(crop, lengths[c.clip])


def test_updates_hold_about_the_audio_asked_for() -> None:
    updates = make((400,) * 333, update_samples=4000).epoch(0)
    totals = [sum(c.num_samples for micro in update for c in micro) for update in updates]
    assert sum(totals) == 333 * 400
    assert all(2000 <= total <= 6400 for total in totals)
    assert sorted(totals)[len(totals) // 2] == 4000


def test_long_clips_are_cut_at_many_places() -> None:
    plan = make((100_000,), crop_samples=500)
    starts = {plan.epoch(epoch)[0][0][0].start_samples for epoch in range(20)}
    assert len(starts) > 15


def test_padding_stays_small() -> None:
    updates = make(tuple(range(100, 500)), update_samples=20_000, batch_samples=2500).epoch(0)
    micros = [micro for update in updates for micro in update]
    padded = sum(max(c.num_samples for c in micro) * len(micro) for micro in micros)
    assert padded < 1.1 * sum(range(100, 500))


EARLIER = [[[22, 21, 20, 19], [17, 16, 14, 13, 8], [7, 6, 5]], [[116, 75], [91, 71]], [[79, 103], [92, 80]]]
# Lengths as of read speech: most near the longest, a tail of short ones.
SPEECH = tuple((np.random.default_rng(0).beta(3, 1, 6000) * 1560).astype(int).tolist())
GROUPS = {"crop_samples": 1560, "update_samples": 32 * 8750, "batch_samples": 8750}


def spreads(updates: list[Update]) -> tuple[float, float]:
    """The deviation of lengths inside an update, and of an update's mean length."""
    lengths = [[c.num_samples for micro in update for c in micro] for update in updates]
    return float(np.mean([np.std(one) for one in lengths])), float(np.std([np.mean(one) for one in lengths]))


def test_an_update_of_groups_has_the_lengths_of_the_corpus() -> None:
    inside, between = spreads(make(SPEECH, **GROUPS, group_samples=8750).epoch(0)[:-1])
    alike, apart = spreads(make(SPEECH, **GROUPS).epoch(0)[:-1])
    assert inside > 0.8 * np.std(SPEECH) > 4 * alike
    assert between < 0.3 * np.std(SPEECH) < 0.5 * apart


def test_groups_pad_little_and_keep_as_many_processes_busy_as_an_update_has_of_them() -> None:
    updates = make(SPEECH, **GROUPS, group_samples=8750).epoch(0)
    assert [len(update) for update in updates[:-1]] == [32] * (len(updates) - 1)
    micros = [micro for update in updates for micro in update]
    padded = sum(max(c.num_samples for c in micro) * len(micro) for micro in micros)
    assert padded < 1.03 * sum(SPEECH)


def test_groups_are_other_ones_in_every_epoch() -> None:
    plan = make(SPEECH, **GROUPS, group_samples=8750)
    first, second = ({frozenset(c.clip for c in micro) for u in plan.epoch(e) for micro in u} for e in (0, 1))
    assert len(first & second) < 0.05 * len(first)


@pytest.mark.parametrize("group_samples", [1500, 1900, 2000, 10**6])
def test_a_group_of_most_of_an_update_is_the_update(group_samples: int) -> None:
    assert make(LENGTHS, group_samples=group_samples).epoch(1) == make(LENGTHS).epoch(1)


def test_runs_of_earlier_releases_keep_their_order() -> None:
    """The first three updates that an earlier release made of these clips."""
    updates = make(LENGTHS).epoch(0)[:3]
    assert [[[c.clip for c in micro] for micro in update] for update in updates] == EARLIER


def test_a_corpus_smaller_than_an_update_is_one_update() -> None:
    assert len(make((100, 200), update_samples=10**9).epoch(0)) == 1


def test_a_micro_batch_that_holds_no_crop_is_refused() -> None:
    with pytest.raises(UserError, match=r"at least one crop.*seconds_per_batch"):
        make((100,), batch_samples=499)
    with pytest.raises(ValueError, match="at least one clip"):
        make(())
