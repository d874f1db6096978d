"""A metric says everything about itself in its family's file, and no other file of the package lists metrics."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import AdditiveMetric
from audio_ssl.metrics.registry import (
    described_metric,
    find_metric,
    get_metric,
    metric_label,
    metric_phrase,
    metrics,
    metrics_of,
    metrics_of_groups,
)

PACKAGE = Path(audio_ssl.__file__).parent
NAMES = {name for metric in metrics() for name in (metric.name, *metric.earlier_names)}


def lists_of_metrics(tree):
    """Yield the lines of lists, tuples, sets and keys that name two metrics or more, but for `metrics = (...)`."""
    own = set()
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(one, ast.Name) and one.id == "metrics" for one in targets):
            own.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            named = node.elts
        elif isinstance(node, ast.Dict):
            named = [key for key in node.keys if key is not None]
        else:
            continue
        if len({one.value for one in named if isinstance(one, ast.Constant)} & NAMES) > 1 and id(node) not in own:
            yield node.lineno


def test_no_other_file_lists_metrics():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith("metrics/"):
            continue
        lines = list(lists_of_metrics(ast.parse(path.read_text(encoding="utf-8"))))
        # What the task of queries computes itself is a dictionary by name.
        if lines and place != "probing/tasks/query.py":
            found[place] = lines
    assert found == {}


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ('KNOWN = ("wer", "cer")', [1]),
        ('\nUNITS = {"eer": "%", "min_dcf": "cost"}', [2]),
        ('rows = [x for x in y if x in {"roc_auc_macro", "eer"}]', [1]),
        ('class Task:\n    metrics: tuple[str, ...] = ("wer", "cer")', []),
        ('if name in ("wer", "loss"): pass', []),
    ],
)
def test_such_lists_are_found(code, lines):
    assert list(lists_of_metrics(ast.parse(code))) == lines


def test_a_name_is_of_one_metric_and_every_metric_has_words():
    names = [name for metric in metrics() for name in (metric.name, *metric.earlier_names)]
    assert len(names) == len(set(names)) > 30
    for metric in metrics():
        assert metric.label
        assert "_" not in metric.label + metric.phrase
        assert set(metric.main_of) <= set(metric.tasks)


def test_an_audit_of_a_task_has_one_main_metric():
    tasks = {task for metric in metrics() for task in metric.tasks}
    for task in tasks:
        assert sum(task in metric.main_of for metric in metrics()) == 1
        assert task in find_metric(metrics_of_groups(task)[0]).main_of
    assert metrics_of_groups("key") == ("key_score", "accuracy")
    assert set(metrics_of("key")) == {"key_score", "accuracy"}


def test_what_needs_classes_or_has_no_task_compares_no_groups():
    of_groups = {name: get_metric(name).of_groups for name in ("wer", "term_coverage", "uar", "r2", "beat_f70")}
    assert of_groups == {"wer": True, "term_coverage": True, "uar": False, "r2": False, "beat_f70": False}


def test_words_of_metrics_of_earlier_results_and_of_unknown_ones():
    assert (metric_label("roc_auc_macro"), metric_phrase("average_precision_macro")) == ("ROC-AUC", "average precision")
    assert (metric_label("own_score"), metric_phrase("own_score")) == ("own score", "own score")
    assert find_metric("own_score") is None
    with pytest.raises(UserError, match=r"unknown metric `own_score`; known: .*abx_within"):
        described_metric("own_score")
    with pytest.raises(UserError, match="unknown metric `eer`; known: accuracy"):
        get_metric("eer")


def test_metrics_are_described_without_the_packages_that_compute_them():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('rapidfuzz', 'sacrebleu', 'mir_eval')))\n"
        "from audio_ssl.metrics.registry import metric_phrase, metrics\n"
        "print(len(metrics()), 'torch' in sys.modules, metric_phrase('bleu'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=2) == [str(len(metrics())), "False", "BLEU score\n"]


def test_classes_and_tokenizers_make_the_metric_anew():
    assert get_metric("uar", ["a", "b"]).columns == ("hit:a", "hit:b", "clips:a", "clips:b")
    plain, characters = get_metric("bleu"), get_metric("bleu", (), "char")
    assert (plain.label, characters.label) == ("BLEU", "BLEU")
    assert "tok:13a" in plain.signature
    assert "tok:char" in characters.signature
    assert isinstance(characters, AdditiveMetric)
    assert characters.corpus([("今天天气", "今天天气")]) == 100
