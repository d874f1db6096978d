import dataclasses
import json
import shutil

import pytest

from audio_ssl.artifacts.result import MetricResult
from audio_ssl.report.build import build_report
from audio_ssl.report.comparison import compare_models, rank_models, shorten, superb_standings
from audio_ssl.report.inputs import read_input
from audio_ssl.report.language.answer import MOST_COLUMNS, score_lines
from audio_ssl.report.language.scores import compare_sentences, difference_reading
from audio_ssl.report.paired import PairedComparison, SystemPairs
from audio_ssl.report.probe_summary import summarise_probe
from audio_ssl.report.sections.scores import comparison_section, gains_section
from tests.report.meaning import in_order, says_significant


@pytest.fixture(scope="module")
def results(models_folder):
    return [read_input(path) for path in models_folder[1]]


@pytest.fixture(scope="module")
def comparison(results, models_folder):
    return compare_models(results, models_folder[0], SystemPairs())


def question(comparison, name):
    return next(one for one in comparison.questions if one.name == name)


def test_models_come_first_and_a_shared_baseline_once(comparison):
    assert comparison.models == 2
    assert comparison.systems == (
        "mert",
        "wav2vec2",
        "untrained twin of mert",
        "untrained twin of wav2vec2",
        "log-mel frames",
    )
    assert [one.results for one in comparison.questions] == [(n, n + 6) for n in range(6)]


def test_cells_are_the_scores_of_the_files_and_lead_to_the_predictions(comparison, results, models_folder):
    cell = question(comparison, "asr_mini").cells["wav2vec2"]
    assert cell.value == results[6].model.score_of("wer").value
    assert (models_folder[0] / cell.predictions).samefile(results[6].path / "predictions.parquet")


def test_best_goes_the_metrics_way(comparison):
    for one in comparison.questions:
        values = [cell.value for cell in one.cells.values()]
        top = max(values) if one.higher_is_better else min(values)
        assert [cell.best for cell in one.cells.values()] == [value == top for value in values]
    assert not question(comparison, "verification_mini").higher_is_better


def test_differences_are_paired_on_every_kind_of_task(comparison):
    for one in comparison.questions:
        for row in one.differences:
            cells = one.cells
            expected = cells[row.system].value - cells["mert"].value
            assert row.difference == pytest.approx(expected, abs=0.01), one.name
            assert row.over == "8 speakers"
            assert row.apart == (row.low > 0 or row.high < 0)
            assert row.better == ((expected > 0) == one.higher_is_better)
    untrained = question(comparison, "asr_mini").differences[1]
    assert untrained.system == "untrained twin of mert"
    assert untrained.apart
    assert not untrained.better


def test_only_clips_that_both_predicted_count_and_the_rest_is_counted(results, models_folder):
    ours, theirs = results[0], results[6]
    fewer = dataclasses.replace(theirs.model, predictions=theirs.model.predictions[5:])
    found = compare_models([ours, dataclasses.replace(theirs, model=fewer)], models_folder[0], SystemPairs())
    row = found.questions[0].differences[0]
    assert (row.clips, row.left_out) == (43, 5)


def test_without_predictions_two_intervals_stand_in(results, models_folder):
    ours, theirs = results[0], results[6]
    bare = dataclasses.replace(theirs.model, predictions=())
    row = compare_models([ours, dataclasses.replace(theirs, model=bare)], models_folder[0], SystemPairs())
    row = row.questions[0].differences[0]
    first, second = (one.model.score_of("wer") for one in (ours, theirs))
    overlap = first.low <= second.high and second.low <= first.high
    assert row.clips is None
    assert row.apart is not overlap


@pytest.mark.parametrize(("name", "place"), [("min_dcf", 5), ("abx_within", 0)])
@pytest.mark.parametrize(
    ("low", "words", "gain"),
    [(0.5, "significantly worse (separate intervals)", "worse"), (0.3, "intervals overlap", "overlap")],
)
def test_scores_that_cannot_be_paired_are_read_by_their_intervals(
    results, models_folder, name, place, low, words, gain
):
    """minDCF is no sum over clips, and tasks without training have comparisons instead of answers."""

    def scored(result, value, low, high):
        metric = MetricResult(value, low, high, higher_is_better=False, unit="")
        scores = dataclasses.replace(result.model.scores, main_metric=name, metrics={name: metric})
        rows = () if name == "abx_within" else result.model.predictions
        return dataclasses.replace(result.model, scores=scores, predictions=rows)

    first, second = results[place], results[place + 6]
    first = dataclasses.replace(first, model=scored(first, 0.3, 0.2, 0.4), baselines=())
    # The second result's baseline is as good as the first model.
    other = dataclasses.replace(scored(first, 0.3, 0.2, 0.4), name="untrained")
    second = dataclasses.replace(second, model=scored(second, 0.6, low, 0.7), baselines=(other,))
    found = compare_models([first, second], models_folder[0], SystemPairs())
    row = found.questions[0].differences[0]
    assert row.difference == pytest.approx(0.3)
    assert row.low is None
    assert difference_reading(row) == words
    said = comparison_section(found).blocks[1].lead[0]
    assert in_order(said, "minDCF" if name == "min_dcf" else "ABX within speakers", "own confidence intervals")
    table = gains_section([summarise_probe(second, models_folder[0], SystemPairs())]).blocks[0].tables[0]
    assert gain in table.rows[1][-1]
    assert "intervals" in table.rows[1][-1]


def test_the_same_model_twice_on_one_probe_is_two_rows(results, models_folder):
    found = compare_models([results[0], results[0]], models_folder[0], SystemPairs())
    assert found.systems[:2] == ("mert", "mert (2)")
    assert found.questions[0].differences[0].difference == 0
    assert found.questions[0].differences[0].apart is False


def test_two_models_of_one_name_are_told_apart():
    assert shorten(["a/run", "b/run", "a/run"]) == ["a/run", "b/run", "a/run"]
    assert shorten(["run", "x/run"]) == ["run", "x/run"]


def test_different_signatures_are_warned_of(results, models_folder):
    scores = dataclasses.replace(results[6].model.scores, signature="case:kept")
    other = dataclasses.replace(results[6].model, scores=scores)
    found = compare_models([results[0], dataclasses.replace(results[6], model=other)], models_folder[0], SystemPairs())
    assert "score signatures differ: none; case:kept" in found.questions[0].warnings[0]


def test_mean_ranks_are_over_shared_probes(comparison):
    ranks = {row.system: row for row in comparison.ranks}
    assert ranks["mert"].questions == 6
    mean = sum(row.mean_rank for row in ranks.values()) / len(ranks)
    assert mean == pytest.approx(3.0)
    assert max(ranks["mert"].mean_rank, ranks["wav2vec2"].mean_rank) <= 2
    first, *others = comparison.questions
    kept = {name: cell for name, cell in first.cells.items() if name != "wav2vec2"}
    lacking = [dataclasses.replace(first, cells=kept), *others]
    assert "wav2vec2" not in {row.system for row in rank_models(comparison.systems, lacking)}
    assert rank_models(comparison.systems, comparison.questions[:1]) == ()


def test_superb_score_of_superb_probes_only():
    scores = {"wer": MetricResult(3.51), "cer": MetricResult(1.0)}
    assert superb_standings({"m": {"asr_mini": scores}}) == ()
    (found,) = superb_standings({"m": {"asr_superb": scores, "emotion_superb": {"accuracy": MetricResult(35.39)}}})
    assert found.score == pytest.approx(500)
    assert found.tasks == ("asr", "er")
    assert "ks" in found.missing


def test_no_section_for_one_probe_of_one_model(results, models_folder):
    assert comparison_section(compare_models(results[:1], models_folder[0], SystemPairs())) is None
    two = comparison_section(compare_models(results[:2], models_folder[0], SystemPairs()))
    assert [block.id for block in two.blocks] == ["comparison-scores"], "differences are in the gains"
    assert comparison_section(compare_models([], models_folder[0], SystemPairs())) is None


def test_best_is_said_in_words(comparison):
    table = comparison_section(comparison).blocks[0].tables[0]
    place = [one.name for one in comparison.questions].index("asr_mini") + 1
    assert [">best<" in str(row[place]) for row in table.rows] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("apart", "better", "words"),
    [(None, True, "–"), (False, True, "not significant"), (True, False, "significantly worse")],
)
def test_reading(apart, better, words):
    found = PairedComparison("b", 1.0, 0.5, 1.5, 10, 0, "10 clips", apart, better)
    assert difference_reading(found) == words


def test_terminal_table_keeps_to_its_columns(comparison):
    lines = score_lines(comparison)
    assert max(map(len, lines)) <= MOST_COLUMNS
    assert lines[0].split()[:4] == ["probe", "score", "mert", "wav2vec2"]
    assert sum("asr_mini" in line for line in lines) == 2, "what does not fit follows as another table"
    best, near = lines[-1].split("; ")
    assert best.startswith("* best")
    assert near.startswith("~ ")
    assert says_significant(near) is False
    assert near.endswith("from mert")
    starred = [line for line in lines if "*" in line[30:]]
    assert len(starred) == 6


def test_sentences_name_the_leader(comparison):
    head, *rest = compare_sentences(comparison)
    leads = sum(question.cells["mert"].best for question in comparison.questions)
    assert f"mert on {leads} probe" in head
    assert len(rest) == 6
    assert rest[0].startswith("asr_mini, WER (lower is better): mert")


def test_old_results_stand_beside_new_ones(tmp_path, models_folder):
    """Scores without runs, chosen, cost, folds, warnings and intervals over seeds are read as before."""
    old, new = tmp_path / "old", models_folder[1][1]
    shutil.copytree(new, old)
    for path in old.rglob("scores.json"):
        scores = json.loads(path.read_text(encoding="utf-8"))
        for key in ("runs", "chosen", "cost", "folds", "warnings", "decoder", "interval_unit"):
            scores.pop(key)
        scores["layers"] = [{key: row[key] for key in ("layer", "metric", "valid")} for row in scores["layers"]]
        scores["model"] = "old"
        path.write_text(json.dumps(scores), encoding="utf-8")
    said = build_report([new, old], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "keyword_mini · mert" in said


def test_many_probes_are_rows(comparison):
    many = dataclasses.replace(comparison, questions=(*comparison.questions, *comparison.questions[:3]))
    few, turned = (comparison_section(one).blocks[0].tables[0] for one in (comparison, many))
    assert few.head[0] == "Model"
    assert turned.head == ("Probe", *comparison.systems)
    assert len(turned.rows) == 9
    assert turned.rows[2][3] == few.rows[2][3], "the same score, found by the other order"
