from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audio_ssl.artifacts.draws import DrawRecord
from audio_ssl.artifacts.records import from_json, to_json
from audio_ssl.base.errors import UserError
from audio_ssl.data.balance import Balance, balance, parse_balance
from audio_ssl.data.manifest import Clip

HALVES = Balance("gender", {"F": 0.5, "M": 0.5})


def clip(name: str, seconds: float, speaker: str | None, gender: str | None, **extra: str) -> Clip:
    return Clip(name, f"{name}.wav", 0.0, seconds, 16000, speaker=speaker, gender=gender, extra=extra)


def even(speakers: int, clips: int, seconds: float = 36.0) -> list[Clip]:
    """Clips of a hundredth of an hour; speakers alternate between F and M."""
    return [
        clip(f"{speaker}-{number}", seconds, str(speaker), "FM"[speaker % 2])
        for speaker in range(speakers)
        for number in range(clips)
    ]


def hours_of(clips: list[Clip], **wanted: str) -> float:
    return sum(one.seconds for one in clips if all(getattr(one, k) == v for k, v in wanted.items())) / 3600


POOLS = st.lists(
    st.tuples(st.floats(0.5, 400.0), st.integers(0, 6), st.sampled_from(["F", "M", "X", "unknown", None])),
    min_size=2,
    max_size=60,
).map(lambda rows: [clip(f"c{i}", seconds, f"s{who}", sex) for i, (seconds, who, sex) in enumerate(rows)])


@settings(max_examples=150, deadline=None)
@given(pool=POOLS, share=st.floats(0.1, 0.9), part=st.floats(0.05, 1.0), seed=st.integers(0, 5), rng=st.randoms())
def test_hours_order_and_nesting(pool: list[Clip], share: float, part: float, seed: int, rng: random.Random) -> None:
    wanted = Balance("gender", {"F": share, "M": 1 - share})
    there = {sex: hours_of(pool, gender=sex) for sex in "FM"}
    assume(all(there.values()))
    hours = part * min(there[sex] / wanted.shares[sex] for sex in "FM") * 0.999999
    drawn = balance(pool, wanted, hours, seed=seed)
    longest = max(one.seconds for one in pool) / 3600
    for sex in "FM":
        assert abs(hours_of(drawn.clips, gender=sex) - hours * wanted.shares[sex]) <= longest
        about = drawn.record.groups[sex]
        assert about.hours == pytest.approx(hours_of(drawn.clips, gender=sex), abs=1e-5)
        assert about.effective_speakers is not None
        assert about.speakers is not None
        assert 1 - 1e-3 <= about.effective_speakers <= about.speakers + 1e-3
    assert {one.gender for one in drawn.clips} == {"F", "M"}
    assert len({one.id for one in drawn.clips}) == len(drawn.clips)
    shuffled = list(pool)
    rng.shuffle(shuffled)
    assert balance(shuffled, wanted, hours, seed=seed) == drawn
    fewer = balance(pool, wanted, hours * 0.6, seed=seed).clips
    assert {one.id for one in fewer} <= {one.id for one in drawn.clips}
    json.dumps(to_json(drawn.record), allow_nan=False)
    assert from_json(DrawRecord, to_json(drawn.record), "m.balance.json") == drawn.record


@settings(max_examples=60, deadline=None)
@given(pool=POOLS, seed=st.integers(0, 5), cap=st.floats(0.01, 0.3))
def test_no_speaker_gives_more_than_the_cap(pool: list[Clip], seed: int, cap: float) -> None:
    wanted = Balance("gender", {"F": 1.0})
    assume(any(one.gender == "F" and one.seconds <= cap * 3600 for one in pool))
    drawn = balance(pool, wanted, 1e-5, speaker_hours=cap, seed=seed)
    for who in range(7):
        assert hours_of(drawn.clips, speaker=f"s{who}") <= cap + 1e-9
    with pytest.raises(UserError, match=f"with at most {cap:g} h of one speaker"):
        balance(pool, wanted, 1000.0, speaker_hours=cap, seed=seed)


def test_speakers_with_little_give_all_and_the_others_the_same() -> None:
    pool = [clip(f"poor-{i}", 36.0, "poor", "F") for i in range(3)]
    pool += [clip(f"{who}-{i}", 36.0, who, "F") for who in ("a", "b", "c") for i in range(100)]
    drawn = balance(pool, Balance("gender", {"F": 1.0}), 0.33).clips
    assert hours_of(drawn, speaker="poor") == pytest.approx(0.03)
    assert [hours_of(drawn, speaker=who) for who in "abc"] == pytest.approx([0.10] * 3)


def test_evenness_within_one_clip_for_clips_of_any_length() -> None:
    rng = random.Random(1)
    pool = [clip(f"{who}-{i}", rng.uniform(1, 20), f"s{who}", "F") for who in range(20) for i in range(50)]
    drawn = balance(pool, Balance("gender", {"F": 1.0}), 1.0).clips
    held = [hours_of(drawn, speaker=f"s{who}") * 3600 for who in range(20)]
    assert max(held) - min(held) <= 20.0


def test_a_group_is_the_same_whatever_share_the_other_has() -> None:
    pool = even(20, 30)
    women = {one.id for one in balance(pool, HALVES, 2.0).clips if one.gender == "F"}
    assert women == {one.id for one in balance(pool, Balance("gender", {"F": 1.0, "M": 0.0}), 1.0).clips}
    assert women < {one.id for one in balance(pool, Balance("gender", {"F": 0.7, "M": 0.3}), 2.0).clips}


def test_the_seed_decides() -> None:
    pool = even(10, 20)
    first, again, other = (balance(pool, HALVES, 0.5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert [one.id for one in first.clips] != [one.id for one in other.clips]
    assert first.record.pool_hash == other.record.pool_hash
    assert balance(pool[:-1], HALVES, 0.5).record.pool_hash != first.record.pool_hash


def test_the_record_says_what_was_done() -> None:
    pool = [*even(8, 10), clip("nobody", 72.0, "z", None), clip("third", 36.0, "y", "X"), clip("mute", 36.0, None, "F")]
    drawn = balance(pool, HALVES, 0.2, speaker_hours=0.04, seed=7)
    record = to_json(drawn.record)
    assert record["asked"] == {
        "balance": "gender=F:0.5,M:0.5", "column": "gender", "shares": {"F": 0.5, "M": 0.5}, "hours": 0.2,
        "speaker_hours": 0.04, "seed": 7,
    }  # fmt: skip
    assert record["excluded"] == {
        "gender X: not asked for": {"clips": 1, "hours": 0.01},
        "gender unknown": {"clips": 1, "hours": 0.02},
        "no speaker": {"clips": 1, "hours": 0.01},
    }
    assert record["hours"] == pytest.approx(0.2)
    women = record["groups"]["F"]
    assert (women["asked_hours"], women["hours"], women["clips"], women["speakers"]) == (0.1, 0.1, 10, 4)
    assert women["most_hours_of_a_speaker"] == 0.03
    assert women["effective_speakers"] == pytest.approx(100 / (9 + 9 + 4 + 4), abs=1e-3)
    assert (women["pool"]["hours"], women["pool"]["speakers"]) == (0.4, 4)
    assert not {"nobody", "third", "mute"} & {one.id for one in drawn.clips}


def test_a_pool_without_speakers_is_drawn_by_clip_and_says_so() -> None:
    pool = [clip(f"{i}", 36.0, None, "FM"[i % 2]) for i in range(40)]
    drawn = balance(pool, HALVES, 0.2)
    assert len(drawn.clips) == 20
    assert drawn.record.groups["F"].speakers is None
    assert "No clip has a speaker" in drawn.record.notes[0]
    with pytest.raises(UserError, match="`speaker_hours` needs speakers"):
        balance(pool, HALVES, 0.2, speaker_hours=0.1)


def test_a_speaker_of_two_groups_is_named() -> None:
    record = balance([*even(4, 10), clip("odd", 36.0, "0", "M")], HALVES, 0.1).record
    assert record.notes == ("Speakers of the pool with more than one gender: 1 (0).",)


def test_any_column_can_be_balanced() -> None:
    pool = [clip(f"{i}", 36.0, f"s{i % 8}", None, accent=("north", "south")[i % 2]) for i in range(40)]
    drawn = balance(pool, parse_balance("accent=north:0.25,south:0.75"), 0.2)
    assert [one.extra["accent"] for one in drawn.clips].count("north") == 5


@pytest.mark.parametrize(
    ("pool", "wanted", "hours", "words"),
    [
        (even(4, 10), HALVES, 0.0, "`hours` must be above 0, but is 0"),
        (even(4, 10), HALVES, float("nan"), "`hours` must be above 0"),
        ([], HALVES, 1.0, "no clips"),
        (even(4, 10), Balance("gender", {"F": 0.5, "divers": 0.5}), 0.1, "unknown group `divers`; known: F, M"),
        (even(4, 10), Balance("gender", {"F": 0.5, "woman": 0.5}), 0.1, "names the group `F` twice"),
        (even(4, 10), Balance("accent", {"F": 1.0}), 0.1, "unknown column `accent`; known: gender, speaker"),
        (even(4, 10), Balance("seconds", {"F": 1.0}), 0.1, "`seconds` cannot name groups"),
        (even(4, 10) * 2, HALVES, 0.1, "the id `0-0` appears twice"),
    ],
)
def test_bad_pools(pool: list[Clip], wanted: Balance, hours: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        balance(pool, wanted, hours)


def test_too_little_audio_says_what_there_is_and_what_can_be_had() -> None:
    pool = [*even(2, 10), clip("more", 3600.0, "m", "M")]
    wanted = Balance("gender", {"F": 0.3, "M": 0.7})
    with pytest.raises(UserError, match=r"`gender` F needs 0.3 h and has 0.1000 h.*at most 0.3333 h in all") as caught:
        balance(pool, wanted, 1.0)
    assert "M needs" not in str(caught.value)
    assert balance(pool, wanted, 0.3333).clips


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gender", "must be COLUMN=GROUP:SHARE"),
        ("gender=", "must be COLUMN=GROUP:SHARE"),
        ("=F:1", "must be COLUMN=GROUP:SHARE"),
        ("gender=F", "but has `F`"),
        ("gender=F:half", "but has `F:half`"),
        ("gender=F:nan,M:1", "but has `F:nan`"),
        ("gender=F:0.5,F:0.5", "names the group `F` twice"),
        ("gender=F:0.5,M:0.4", "must sum to 1, but sum to 0.9"),
        ("gender=F:1.5,M:-0.5", "must be from 0 to 1, but is 1.5"),
    ],
)
def test_bad_balances(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_balance(text)


@pytest.mark.parametrize("shares", [{"F": 1 / 3, "M": 2 / 3}, {"F": 1.0}, {"a:b": 0.5, "c": 0.5}])
def test_a_balance_reads_back(shares: dict[str, Any]) -> None:
    assert parse_balance(str(Balance("gender", shares))) == Balance("gender", shares)


@pytest.mark.parametrize(("hours", "clips"), [(0.014, 1), (0.016, 2), (0.024, 2), (0.026, 3)])
def test_a_group_ends_with_the_clip_that_comes_closest(hours: float, clips: int) -> None:
    assert len(balance(even(4, 3), Balance("gender", {"F": 1.0}), hours).clips) == clips
