import dataclasses

import pytest

from audio_ssl.artifacts.result import ManifestOrigin, ResultOrigin
from audio_ssl.report.inputs import read_input, share_baselines

QUESTION = {"task": {"kind": "key"}, "data": {"manifest": "a.jsonl", "where": {}}, "baselines": ["untrained", "logmel"]}
ALONE = {**QUESTION, "data": {"manifest": "b.jsonl", "where": {}}, "baselines": []}


@pytest.fixture(scope="module")
def results(models_folder):
    """Return a model's answer with baselines, and another's to the same question without any."""
    folders = models_folder[1]
    ours, theirs = read_input(folders[0]), read_input(folders[6])
    origin = ResultOrigin(manifest=ManifestOrigin("a.jsonl", "1"))
    return (
        dataclasses.replace(ours, question=QUESTION, origin=origin),
        dataclasses.replace(theirs, question=ALONE, origin=origin, baselines=()),
    )


def names(results):
    return [sorted(one.name for one in result.baselines) for result in results]


def test_spectra_are_lent_and_a_twin_is_not(results):
    assert names(share_baselines(results)) == [["logmel", "untrained"], ["logmel"]]


@pytest.mark.parametrize(
    "change",
    [
        {"question": {**ALONE, "data": {"where": {"language": "cs"}}}},
        {"question": {**ALONE, "optim": {"steps": 1}}},
        {"question": {}},
        {"origin": ResultOrigin(manifest=ManifestOrigin("a.jsonl", "2"))},
        {"origin": ResultOrigin()},
    ],
)
def test_nothing_is_lent_for_another_question_or_other_clips(results, change):
    other = dataclasses.replace(results[1], **change)
    assert names(share_baselines([results[0], other])) == [["logmel", "untrained"], []]


def test_a_baseline_that_is_probed_itself_is_not_its_own_baseline(results):
    ours, theirs = results
    lent = next(one for one in ours.baselines if one.name == "logmel")
    itself = dataclasses.replace(theirs, model=dataclasses.replace(lent, name="model"))
    assert names(share_baselines([ours, itself]))[1] == []
