import pytest

from audio_ssl.data.corpus_tools.scores import beats_of_bars


def test_upbeats_are_numbered_from_the_end_of_the_bar():
    assert beats_of_bars([1.5, 5.5], 9.5, "4/4") == [
        (0.5, 4),
        (1.5, 1),
        (2.5, 2),
        (3.5, 3),
        (4.5, 4),
        (5.5, 1),
        (6.5, 2),
        (7.5, 3),
        (8.5, 4),
    ]


def test_a_bar_that_a_repeat_divides_is_one_bar():
    # Upbeat, a bar, a bar in two parts, a bar.
    divided = beats_of_bars([0.5, 2.5, 4.0, 4.5], 6.5, "2/4")
    assert divided == beats_of_bars([0.5, 2.5, 4.5], 6.5, "2/4")
    assert [time for time, number in divided if number == 1] == [0.5, 2.5, 4.5]


@pytest.mark.parametrize(
    ("metre", "bar", "beats"),
    [("6/8", 3.0, [0.0, 1.5]), ("9/8", 4.5, [0.0, 1.5, 3.0]), ("2/2", 4.0, [0.0, 2.0]), ("3/8", 1.5, [0.0, 0.5, 1.0])],
)
def test_what_counts_as_a_beat(metre, bar, beats):
    assert beats_of_bars([0.0, bar], 2 * bar, metre) == [
        (start + time, number) for start in (0.0, bar) for number, time in enumerate(beats, 1)
    ]


def test_the_same_line_twice_is_one_line_and_the_last_bar_may_be_short():
    assert beats_of_bars([2.0, 2.0, 4.0], 5.0, "2/4") == [(0.0, 1), (1.0, 2), (2.0, 1), (3.0, 2), (4.0, 1)]


def test_bars_that_do_not_add_up_give_nothing():
    assert beats_of_bars([3.0, 6.0, 10.0], 13.0, "3/4") is None
    # A short bar within, that no other completes.
    assert beats_of_bars([3.0, 5.0, 8.0], 11.0, "3/4") is None
