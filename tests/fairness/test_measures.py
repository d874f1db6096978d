import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.measures import choose_metrics, get_measure
from audio_ssl.metrics.registry import metrics_of_groups


@pytest.mark.parametrize("name", metrics_of_groups())
def test_every_known_name_is_a_measure(name):
    assert get_measure(name).name == name


@pytest.mark.parametrize("name", ["uar", "macro_f1", "beat_f70", "x"])
def test_others_are_refused(name):
    with pytest.raises(UserError, match=f"unknown metric `{name}`; known: accuracy, bleu"):
        get_measure(name)


def test_what_fits():
    assert choose_metrics(None, (), False, "p") == ("wer", "cer")
    assert choose_metrics("asr", (), True, "p") == ("wer", "cer")
    assert choose_metrics(None, (), True, "p") == ("bleu", "chrf", "term_coverage", "gender_accuracy")
    assert choose_metrics("x", ("cer", "wer", "cer"), False, "p") == ("cer", "wer")
    of_task = {
        "asr": ("wer", "cer"),
        "st": ("bleu", "chrf"),
        "phones": ("per",),
        "slots": ("slot_f1", "slot_cer"),
        "key": ("key_score", "accuracy"),
        "classification": ("accuracy",),
    }
    for task, metrics in of_task.items():
        assert choose_metrics(task, (), False, "p") == metrics


def test_tasks_without_scores_a_clip():
    with pytest.raises(UserError, match="the task `tagging` has no score per clip; groups are compared on asr, cl"):
        choose_metrics("tagging", (), False, "p")
    with pytest.raises(UserError, match=r"equal error rate is read by audio_ssl/fairness/verification\.py"):
        choose_metrics("speaker_verification", (), False, "p")
