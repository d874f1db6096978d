import numpy as np
import pytest

from audio_ssl.artifacts.fairness import REST
from audio_ssl.fairness.groups import Pair, group_by, speakers_of
from audio_ssl.fairness.wording import few_speakers
from tests.fairness.tables import predictions


def test_women_come_first_and_the_unknown_make_no_group():
    table = predictions(["a", "b", "c", "d"], {"gender": ["M", "F", None, "divers"]})
    (grouping,) = group_by(table, ["gender"], min_speakers=1)
    assert grouping.names == ("F", "M", "divers")
    assert grouping.index.tolist() == [1, 0, -1, 2]
    assert grouping.pairs == (Pair("F", "M"), Pair("F", "divers"), Pair("M", "divers"))
    assert grouping.members("M").tolist() == [True, False, False, False]


def test_of_many_groups_each_is_compared_with_all_others():
    accents = list("abcdefg")
    table = predictions([f"s{i}" for i in range(8)], {"accent": [*accents, None]})
    (grouping,) = group_by(table, ["accent"], min_speakers=1)
    assert grouping.pairs == tuple(Pair(name, REST) for name in accents)
    first, second = grouping.sides(Pair("b", REST))
    assert first.tolist() == [name == "b" for name in accents] + [False]
    assert second.tolist() == [name != "b" for name in accents] + [False]


def table_of(*people):
    """Two clips of each speaker; `people` are values of gender and age and how many speakers have them."""
    rows = [(gender, age, f"{gender}{age}{n}") for gender, age, count in people for n in range(count) for _ in "ab"]
    genders, ages, speakers = zip(*rows, strict=True)
    return predictions(speakers, {"gender": genders, "age": ages})


def hidden(grouping):
    return {(one.groups[0] if one.groups else None): (one.speakers, one.clips) for one in grouping.hidden}


def test_groups_of_few_speakers_are_counted_and_not_compared():
    table = table_of(("F", "a", 4), ("M", "a", 6), (None, "a", 2))
    (grouping,) = group_by(table, ["gender"])
    assert grouping.names == ("M",)
    assert grouping.pairs == ()
    assert grouping.refused == ((Pair("F", "M"), few_speakers("F", 4, 5)),)
    assert hidden(grouping) == {"F": (4, 8), "unknown": (2, 4)}
    assert set(grouping.index.tolist()) == {0, -2}
    (grouping,) = group_by(table, ["gender"], min_speakers=10)
    assert grouping.names == ()
    assert grouping.refused[0][1] == few_speakers("F", 4, 10)


def test_cells_that_would_give_a_small_one_away_are_withheld():
    cells = {("F", "a"): 6, ("F", "b"): 2, ("F", "c"): 9, ("M", "a"): 9, ("M", "b"): 9, ("M", "c"): 8}
    table = table_of(*((*values, count) for values, count in cells.items()))
    gender, age, crossed = group_by(table, ["gender", "age"])
    assert (gender.names, age.names) == (("F", "M"), ("a", "b", "c"))
    # Of women and of age b a second cell is withheld, and the fourth corner with them: else each gave the next away.
    assert hidden(crossed) == {"F × b": (2, 4), "F × c": (9, 18), "M × b": (9, 18), "M × c": (8, 16)}
    assert crossed.names == ("F × a", "M × a")
    assert crossed.pairs == (Pair("F × a", "M × a"),)
    assert {row.reason for row in crossed.hidden} == {
        "fewer than 5 speakers",
        "withheld, because it would reveal the score of a group of fewer than 5 speakers",
    }


def test_people_whom_another_attribute_would_give_away_are_in_no_score():
    table = table_of(("F", "a", 8), ("F", "b", 8), ("M", "a", 8), ("M", "b", 8), ("x", "a", 1))
    gender, age, crossed = group_by(table, ["gender", "age"])
    assert gender.names == ("F", "M")
    assert hidden(gender) == {"x": (1, 2)}
    # The ages are everybody: less women and men that is the one person.
    assert age.names == ("a", "b")
    assert hidden(age) == {None: (1, 2)}
    assert len(crossed.names) == 4
    assert [(grouping.index[-2:] == -2).all() for grouping in (gender, age, crossed)] == [True] * 3


_PRIME = 1_000_003


def rank(rows):
    """Count independent rows, by elimination in the integers modulo a prime."""
    rows, found = np.array(rows, np.int64) % _PRIME, 0
    for column in range(rows.shape[1]):
        places = np.flatnonzero(rows[found:, column])
        if not len(places):
            continue
        rows[[found, found + places[0]]] = rows[[found + places[0], found]]
        rows[found] = rows[found] * pow(int(rows[found, column]), -1, _PRIME) % _PRIME
        rows[found + 1 :] = (rows[found + 1 :] - rows[found + 1 :, [column]] * rows[found]) % _PRIME
        found += 1
    return found


@pytest.mark.parametrize("seed", range(6))
def test_no_score_of_few_people_can_be_found_by_subtraction(seed):
    """No small group's row of zeros and ones is a combination of published ones, by exact arithmetic."""
    rng = np.random.default_rng(seed)
    attributes = {"gender": ["F", "M", None], "age": ["a", "b", "c"], "accent": ["x", "y"]}
    people = [{key: names[rng.integers(len(names))] for key, names in attributes.items()} for _ in range(80)]
    table = predictions([f"s{n}" for n in range(80)], {key: [one[key] for one in people] for key in attributes})
    groupings = group_by(table, list(attributes))
    published = [grouping.index == code for grouping in groupings for code in range(-1, len(grouping.names))]
    published += [grouping.index != -2 for grouping in groupings]
    everything = group_by(table, list(attributes), min_speakers=1)
    small = [grouping.index == code for grouping in everything for code in range(-1, len(grouping.names))]
    small = [group for group in small if 0 < group.sum() < 5]
    assert small
    found = rank(published)
    assert all(rank([*published, group]) == found + 1 for group in small)
    assert sum(len(grouping.names) for grouping in groupings) > 10


def test_three_attributes_give_every_set_of_them():
    table = predictions(["a", "b"], {name: ["x", "y"] for name in ("gender", "age", "accent")})
    names = [grouping.by for grouping in group_by(table, ["gender", "age", "accent"], min_speakers=1)]
    assert names == [
        "gender",
        "age",
        "accent",
        "gender × age",
        "gender × accent",
        "age × accent",
        "gender × age × accent",
    ]


def test_an_attribute_of_clips_has_its_pairs_and_is_not_crossed():
    table = predictions(["a"] * 4, {"gender": ["F"] * 4, "category": ["1F", "1M", "2F", "2M"]})
    groupings = group_by(table, ["gender", "category"], {"category": (("1F", "1M"), ("2F", "2M"))}, 1)
    assert [grouping.by for grouping in groupings] == ["gender", "category"]
    assert groupings[1].pairs == (Pair("1F", "1M"), Pair("2F", "2M"))


def test_speakers_are_counted_once():
    table = predictions(["a", "b", "a", "c"], {"gender": ["F"] * 4})
    assert speakers_of(table, np.array([True, False, True, True])).tolist() == [0, 2]
