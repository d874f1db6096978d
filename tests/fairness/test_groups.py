import numpy as np

from audio_ssl.fairness.groups import Pair, group_by, speakers_of, suppressed_row
from audio_ssl.fairness.people import REST
from tests.fairness.tables import predictions


def test_women_come_first_and_the_unknown_make_no_group():
    table = predictions(["a", "b", "c", "d"], {"gender": ["M", "F", None, "divers"]})
    (grouping,) = group_by(table, ["gender"])
    assert grouping.names == ("F", "M", "divers")
    assert grouping.index.tolist() == [1, 0, -1, 2]
    assert grouping.pairs == (Pair("F", "M"), Pair("F", "divers"), Pair("M", "divers"))
    assert grouping.members("M").tolist() == [True, False, False, False]


def test_of_many_groups_each_is_compared_with_all_others():
    accents = list("abcdefg")
    table = predictions([f"s{i}" for i in range(8)], {"accent": [*accents, None]})
    (grouping,) = group_by(table, ["accent"])
    assert grouping.pairs == tuple(Pair(name, REST) for name in accents)
    first, second = grouping.sides(Pair("b", REST))
    assert first.tolist() == [name == "b" for name in accents] + [False]
    assert second.tolist() == [name != "b" for name in accents] + [False]


def test_cells_of_few_speakers_are_suppressed_and_others_differ_in_one_attribute():
    speakers, genders, ages = [], [], []
    for gender, age, people in (("F", "20–29", 3), ("F", "30–39", 2), ("M", "20–29", 3), ("M", "30–39", 3)):
        for number in range(people):
            for _ in range(2):
                speakers.append(f"{gender}{age}{number}")
                genders.append(gender)
                ages.append(age)
    speakers += ["u", "v"]
    genders += ["F", None]
    ages += [None, "20–29"]
    table = predictions(speakers, {"gender": genders, "age": ages})
    *_, cells = group_by(table, ["gender", "age"], min_speakers=3)
    assert cells.by == "gender × age"
    assert cells.names == ("F × 20–29", "M × 20–29", "M × 30–39")
    # Two women of 30–39: neither scored nor unknown.
    assert cells.suppressed == ("F × 30–39",)
    assert sorted(np.unique(cells.index)) == [-2, -1, 0, 1, 2]
    assert (cells.index == -1).sum() == 2
    assert cells.pairs == (Pair("F × 20–29", "M × 20–29"), Pair("M × 20–29", "M × 30–39"))
    assert suppressed_row(table, cells, 3) == {
        "by": "gender × age",
        "groups": ["F × 30–39"],
        "speakers": 2,
        "clips": 4,
        "reason": "fewer than 3 speakers each",
    }


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
    groupings = group_by(table, ["gender", "category"], {"category": (("1F", "1M"), ("2F", "2M"))})
    assert [grouping.by for grouping in groupings] == ["gender", "category"]
    assert groupings[1].pairs == (Pair("1F", "1M"), Pair("2F", "2M"))


def test_speakers_are_counted_once():
    table = predictions(["a", "b", "a", "c"], {"gender": ["F"] * 4})
    assert speakers_of(table, np.array([True, False, True, True])).tolist() == [0, 2]
