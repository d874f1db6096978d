import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.leaderboards import OCTOBER_2021, SuperbLine, superb_score

HUBERT_BASE = {
    "pr": {"per": 5.41},
    "asr": {"wer": 6.42},
    "ks": {"accuracy": 96.30},
    "qbe": {"mtwv": 0.0736},
    "sid": {"accuracy": 81.42},
    "asv": {"eer": 5.11},
    "sd": {"der": 5.88},
    "ic": {"accuracy": 98.34},
    "sf": {"slot_f1": 88.53, "slot_cer": 25.20},
    "er": {"accuracy": 64.92},
}


@pytest.mark.parametrize(("which", "expected"), [("baseline", 0.0), ("best", 1000.0)])
def test_the_ends_are_0_and_1000(which, expected):
    results = {task: {m: getattr(line, which) for m, line in metrics.items()} for task, metrics in OCTOBER_2021.items()}
    score = superb_score(results)
    assert score.value == pytest.approx(expected)
    assert list(score.per_task.values()) == pytest.approx([expected] * 10)
    assert score.missing == []


def test_a_model_between_them():
    score = superb_score(HUBERT_BASE)
    assert score.per_task["asr"] == pytest.approx(1000 * (23.18 - 6.42) / (23.18 - 3.51))
    # Two metrics are one task.
    f1, cer = (88.53 - 69.64) / (92.25 - 69.64), (52.94 - 25.20) / (52.94 - 17.61)
    assert score.per_task["sf"] == pytest.approx(500 * (f1 + cer))
    assert score.value == pytest.approx(sum(score.per_task.values()) / 10)
    assert 800 < score.value < 950


def test_tasks_that_are_missing_are_named_and_nothing_is_clipped():
    score = superb_score(
        {"t": {"wer": 30.0}}, {"t": {"wer": SuperbLine(20.0, 10.0)}, "u": {"wer": SuperbLine(20.0, 10.0)}}
    )
    assert score.value == -1000.0
    assert score.missing == ["u"]


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match="unknown SUPERB task `asrr`"):
        superb_score({"asrr": {"wer": 1.0}})
    with pytest.raises(UserError, match="task `sf` must have the metrics slot_f1, slot_cer, but has slot_f1"):
        superb_score({"sf": {"slot_f1": 1.0}})
    with pytest.raises(UserError, match="must hold a task"):
        superb_score({})
