import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from audio_ssl.artifacts.recipe_outline import GuardsOutline, RecipeOutline
from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.run import as_update, read_run_folder
from audio_ssl.pretrain.guards import AlikeAtEnd
from audio_ssl.report.build import build_report
from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.language.training import TOGETHER
from audio_ssl.report.run_summary import find_alike, summarise_run
from audio_ssl.report.sections.training import training_section
from audio_ssl.report.summary import read_report
from tests.report.conftest import make_run, write_rows

LOSSES = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


def updates(rows):
    return [as_update(row) for row in rows]


def page_of(tmp_path, *runs):
    page = build_report(runs, tmp_path / "report.html")
    return page.read_text(), read_report(page)


def test_two_runs_are_drawn_over_one_another_with_a_legend_that_tells_them_apart(tmp_path):
    runs = [make_run(tmp_path / "small", steps=200), make_run(tmp_path / "large", steps=400, codec=False)]
    _, report = page_of(tmp_path, *runs)
    together, *alone = training_section(report.runs).blocks
    assert together.heading == TOGETHER
    titles = [figure.caption for figure in together.figures]
    assert titles[:3] == ["Loss.", "Validation: loss.", "Accuracy on masked frames."]
    chart = ET.fromstring(together.figures[0].svg)
    lines = [one.get("class") for one in chart.iter("path") if one.get("class", "").startswith("line ")]
    assert lines == ["line line-0", "line line-1"]
    named = {one.get("class"): one.text for one in chart.iter("text") if "end-label" in one.get("class", "")}
    assert named == {"end-label text-0": "small", "end-label text-1": "large"}
    ends = [max(float(point.split()[0][1:]) for point in one.get("d").split("L")[1:]) for one in chart.iter("path")]
    assert ends[0] < ends[1]
    assert [row[0] for row in together.figures[0].table.rows] == ["small", "large"]
    assert [block.heading for block in alone if block.heading.startswith("Pretraining")] == [
        "Pretraining: small", "Pretraining: large",
    ]  # fmt: skip


def test_one_run_is_shown_alone_and_runs_of_one_name_by_their_paths(tmp_path):
    _, report = page_of(tmp_path, make_run(tmp_path / "a" / "run"))
    assert all(block.heading != TOGETHER for block in training_section(report.runs).blocks)
    _, report = page_of(tmp_path, tmp_path / "a" / "run", make_run(tmp_path / "b" / "run"))
    figure = training_section(report.runs).blocks[0].figures[0]
    assert [row[0] for row in figure.table.rows] == ["a/run", "b/run"]


def test_more_runs_than_lines_can_tell_apart_are_counted(tmp_path):
    empty = read_run_folder(tmp_path)
    runs = [replace(empty, path=tmp_path / f"run{n}", updates=updates(LOSSES)) for n in range(10)]
    together = training_section([summarise_run(run, tmp_path) for run in runs]).blocks[0]
    assert together.lead == ("Each line is one of the first 8 of 10 runs. The figures of each run follow.",)
    assert len(together.figures[0].table.rows) == 8


def collapsed(folder, **last):
    make_run(folder, steps=60, codec=False)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    write_rows(folder / "metrics.jsonl", [*rows, {"step": 60, "valid_loss": 4.0, **last}])
    return folder


def test_a_collapsed_run_is_said_at_the_top_in_its_section_and_on_the_terminal(tmp_path):
    run = collapsed(tmp_path / "run", valid_predicted_perplexity_0=1.0, valid_code_perplexity_0=60.0)
    text, report = page_of(tmp_path, run)
    words = (
        "At step 60 the predictions are nearly constant: valid_predicted_perplexity_0 is 1 (1: a single code for all "
        "frames); the model has collapsed, or has not begun to learn."
    )
    assert report.answer["pretraining"][0] == f"run: {words}"
    assert text.count(words) >= 2
    assert summary_lines(report)[0] == f"run: {words}"
    text, report = page_of(tmp_path, collapsed(tmp_path / "well", valid_predicted_perplexity_0=40.0))
    assert "nearly constant" not in text


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([{"step": 3, "predicted_perplexity": 1.0}], AlikeAtEnd(3, predictions={"predicted_perplexity": 1.0})),
        ([{"step": n, "predicted_perplexity": 1.0 + 9 * (n > 0)} for n in range(200)], None),
        # An earlier collapse that is over is none.
        ([{"step": 1, "valid_target_variance": 0.0}, {"step": 2, "valid_target_variance": 1.0}], None),
        ([{"step": 2, "valid_target_variance": 0.05}], AlikeAtEnd(2, targets={"valid_target_variance": 0.05})),
        ([{"step": 2, "valid_predicted_perplexity_0": 1.0, "valid_predicted_perplexity_1": 9.0}], None),
        ([], None),
    ],
)  # fmt: skip
def test_the_end_of_a_run_says_whether_it_has_collapsed(rows, found):
    assert find_alike(updates(rows), RecipeOutline()) == found


def test_the_limits_are_those_of_the_recipe():
    rows = [{"step": 2, "valid_target_variance": 0.05}]
    found = [
        find_alike(updates(rows), RecipeOutline(guards=GuardsOutline(collapse)))
        for collapse in ({"target_variance": 0.01}, {"target_variance": None}, None)
    ]
    assert [one is None for one in found] == [True, True, False]


def test_what_a_page_says_of_runs_is_read_back_as_it_was_written(tmp_path):
    unfinished = collapsed(tmp_path / "stopped", valid_predicted_perplexity_0=1.0)
    record = json.loads((unfinished / "provenance.json").read_text()) | {"finished": False, "of_a_later_release": [1]}
    (unfinished / "provenance.json").write_text(json.dumps(record))
    (tmp_path / "begun").mkdir()
    write_rows(tmp_path / "begun" / "metrics.jsonl", [])
    page = build_report([make_run(tmp_path / "run"), unfinished, tmp_path / "begun"], tmp_path / "report.html")
    written = json.loads(page.with_suffix(".json").read_text())
    assert json.dumps(to_json(read_report(page))) == json.dumps(written)
    assert [run["provenance"].get("finished") for run in written["runs"]] == [True, False, None]
    assert [run["recipe"].get("steps") for run in written["runs"]] == [400, 60, None]
