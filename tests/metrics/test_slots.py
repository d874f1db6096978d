import jiwer
import numpy as np
import pytest

from audio_ssl.metrics.families.text import slots
from audio_ssl.metrics.registry import get_metric


def test_types_are_compared_as_sets_and_averaged_over_clips():
    metric = get_metric("slot_f1")
    reference = "play <artist>queen</artist> in <city>rome</city>"
    assert metric.corpus([(reference, reference)]) == 100.0
    assert metric.corpus([(reference, "play <artist>king</artist>")]) == pytest.approx(100 * 2 * 0.5 / 1.5)
    assert metric.corpus([(reference, "play"), ("stop", "stop"), ("stop", "<city>stop</city>")]) == pytest.approx(
        100 / 3
    )
    twice = "<song>a</song> then <song>b</song>"
    assert metric.corpus([(twice, "<song>c</song>")]) == 100.0


def test_values_are_compared_with_the_nearest_of_the_same_type():
    metric = get_metric("slot_cer")
    reference = "play <artist>queen</artist> in <city>new york</city>"
    assert metric.corpus([(reference, reference)]) == 0.0
    # A missing slot is a deletion of each of its characters; spurious slots cost nothing.
    assert metric.corpus([(reference, "play <artist>queens</artist> <song>x</song>")]) == pytest.approx(100 * 9 / 13)
    assert metric.corpus([("<a>abc</a>", "<a>xyz</a> or <a>abd</a>")]) == pytest.approx(100 / 3)
    assert np.isnan(metric.corpus([("no slots", "<a>here</a>")]))


def test_pooled_rate_equals_jiwer_on_the_chosen_values():
    pairs = [("<a>abc de</a>", "<a>abd de</a>"), ("<b>x</b> <c>yyyy</c>", "<b>xx</b>")]
    expected = 100 * jiwer.cer(["abc de", "x", "yyyy"], ["abd de", "xx", ""])
    assert get_metric("slot_cer").corpus(pairs) == pytest.approx(expected)


def test_marks_that_do_not_close_are_no_slots():
    assert slots("play <artist>queen now") == {}
    assert slots("<artist>queen</song>") == {}
    assert slots("<a>one <b>two</b> three</a>") == {"a": ["one two three"]}
    assert slots("<object_name>  the   wall </object_name>") == {"object_name": ["the wall"]}
    assert slots("<a> </a>") == {}
