import unicodedata

import pytest

from audio_ssl.base.text import composed, is_composed
from audio_ssl.data.columns import read_value
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.text import SLOT_F1
from audio_ssl.metrics.registry import get_metric

COMPOSED = "José où «été» 도시"
APART = unicodedata.normalize("NFD", COMPOSED)


def test_what_looks_alike_is_alike():
    assert APART != COMPOSED
    assert composed(APART) == COMPOSED
    assert (is_composed(APART), is_composed(COMPOSED), is_composed("a")) == (False, True, True)


@pytest.mark.parametrize("name", ["wer", "cer", "per", "bleu", "chrf", "accuracy"])
def test_no_metric_counts_composition_as_an_error(name):
    metric = get_metric(name)
    assert metric.statistics([(COMPOSED, APART)]).tolist() == metric.statistics([(COMPOSED, COMPOSED)]).tolist()
    assert metric.statistics([(APART, COMPOSED)]).tolist() == metric.statistics([(COMPOSED, COMPOSED)]).tolist()


def test_slots_too():
    assert SLOT_F1.corpus([("B-name José E-name", unicodedata.normalize("NFD", "B-name José E-name"))]) == 100


def test_a_manifest_has_one_jose():
    row = {"id": "a", "path": "a.wav", "start": 0.0, "seconds": 1.0, "sample_rate": 16000}
    names = [Clip.from_row({**row, "speaker": name}).speaker for name in ("José", unicodedata.normalize("NFD", "José"))]
    assert names == ["José", "José"]
    assert read_value("gender", unicodedata.normalize("NFD", "männlich")) == "M"
    assert read_value("accent", unicodedata.normalize("NFD", "québécois")) == "québécois"
