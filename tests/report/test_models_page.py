import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile

from audio_ssl.report.build import build_report, result_lines
from audio_ssl.report.clips import MOST_SECONDS, excerpts
from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.summary import read_report
from tests.report.test_build import read, text_of


@pytest.fixture(scope="module")
def page(models_folder):
    folder, made = models_folder
    return build_report(made, folder / "report.html")


@pytest.fixture(scope="module")
def reader(page):
    return read(page)


def test_page_of_many_models_is_well_formed_and_accessible(reader):
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.labelled) <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption")
    assert reader.tags.count("table") == reader.tags.count("caption")
    assert reader.tags.count("svg") == reader.tags.count("title") - 1


def test_every_link_leads_to_a_file_beside_the_page(page, reader):
    targets = [target for target in reader.targets if not target.startswith(("#", "data:"))]
    assert all((page.parent / unquote(target)).is_file() for target in targets)
    linked = {Path(unquote(target)).as_posix() for target in targets}
    for model in ("runs-mert", "exports-wav2vec2"):
        for system in ("", "baselines/untrained/"):
            assert f"results/{model}/tagging/{system}predictions.parquet" in linked


def test_page_shows_every_part(reader):
    said = text_of(reader)
    for words in (
        "Best score among 2 models",
        "mert is significantly better than every baseline (untrained twin, log-mel frames) on all 6 probes",
        "paired bootstrap over speakers",
        "Each system minus mert, on the clips that both answered",
        "not significant",
        "significantly worse",
        "Mean rank",
        "Rings mark the layers that the validation clips selected: mert layer 3, wav2vec2 layer 3",
        "Bands show the range over seeds or folds",
        "Horizontal lines are systems with one layer",
        "by layer and learning rate, mean over 3 seeds",
        "mean over 3 seeds and 3 folds",
        "3 runs diverged; × marks cells where all runs did",
        "in % of each reference's clips",
        "Most frequent confusions",
        "valence: reference and answer of 48 clips",
        "Scores of 120 pairs of the same speaker (solid line)",
        "Peak memory",
        "76,800",
        "1.23 GB",
        "Decoding: beam 8, no language model.",
        "3 folds: each clip is tested once.",
        "learning rate 0.001, seed 1",
        "Warning: 3 of 45 runs diverged",
    ):
        assert words in said, words


def test_each_result_is_shown_once(reader):
    said = text_of(reader)
    for task in ("asr", "keyword", "speaker", "tagging", "emotion", "verification"):
        for model in ("mert", "wav2vec2"):
            assert f"{task}_mini · {model}" in said
    assert reader.ids.count("layers-1-title") == 1


def folds_of(path):
    """Return id, attributes and summary of every fold of a page."""
    found = re.findall(
        r'<details class="fold" id="([^"]+)"( open)?>\s*<summary>(.*?)</summary>', path.read_text("utf-8")
    )
    return [(one, bool(is_open), re.sub("<[^>]+>", "", words).replace("\u00a0", " ")) for one, is_open, words in found]


def test_each_model_on_each_probe_is_a_closed_fold_that_says_the_main_score(page):
    folds = [one for one in folds_of(page) if one[0].startswith("probe-")]
    assert [one for one, *_ in folds] == [f"probe-{n}" for task in range(6) for n in (task, task + 6)]
    assert not any(is_open for _, is_open, _ in folds)
    report = read_report(page)
    wer = report.results[0].main
    assert folds[0][2] == f"mert WER {wer.value:.1f} % ({wer.low:.1f} to {wer.high:.1f})"
    assert folds[2][2].startswith("mert accuracy ")
    assert folds[2][2].endswith(" · 1 warning")


def test_two_results_are_open(models_folder, tmp_path):
    made = models_folder[1]
    page = build_report([made[0], made[6]], tmp_path / "r.html", audio=False)
    assert [is_open for _, is_open, _ in folds_of(page)] == [True, True]


def test_probes_are_listed_at_the_top_where_they_are_more_than_three(page, reader, models_folder, tmp_path):
    listed = page.read_text("utf-8").split('class="contents"')[1].split("</nav>")[0]
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', listed)
    assert [name for _, name in links] == [one.title for one in read_report(page).comparison.questions]
    assert {target for target, _ in links} <= set(reader.ids)
    few = build_report(models_folder[1][:3], tmp_path / "r.html", audio=False)
    assert 'class="contents"' not in few.read_text("utf-8")


def test_links_within_the_page_lead_somewhere(reader):
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= set(reader.ids)


def test_folds_are_open_on_paper(page):
    paper = page.read_text("utf-8").split("@media print")[1].split("</style>")[0]
    assert "::details-content { display: block; content-visibility: visible" in paper


def test_worst_clips_can_be_heard(reader):
    sounds = [target for target in reader.targets if target.startswith("data:audio")]
    results = 10  # verification has no answers of single clips
    assert results <= len(sounds) <= 4 * results
    data, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].split(",", 1)[1])))
    assert MOST_SECONDS - 0.2 < len(data) / rate < MOST_SECONDS + 0.2
    assert abs(data).max() > 0.1


def test_audio_is_left_out_when_asked(models_folder, tmp_path):
    page = build_report(models_folder[1][:1], tmp_path / "r.html", audio=False)
    source = page.read_text(encoding="utf-8")
    assert "data:audio" not in source
    assert "can be played" not in source


def test_audio_that_is_gone_is_said(tmp_path):
    row = {"id": "a", "path": str(tmp_path / "no.wav"), "start": 0.0, "seconds": 1.0, "sample_rate": 16000}
    assert excerpts([row, {"id": "b"}], ["a", "b"]) == {"a": "audio not found"}


def test_the_jsons_names_no_place_on_this_machine(page, models_folder):
    assert str(models_folder[0]) not in page.with_suffix(".json").read_text(encoding="utf-8")


def test_same_inputs_give_the_same_bytes_with_audio(page, models_folder):
    first = page.read_bytes()
    assert build_report(models_folder[1], page).read_bytes() == first


def test_changes_are_marked_in_text(page):
    source = page.read_text(encoding="utf-8")
    assert re.search(r"\[<del>[^<]+</del>\]", source)
    assert re.search(r"\[<ins>[^<]+</ins>\]", source)
    assert "[<del>speaker " in source, "a class is wrong as a whole"
    assert not re.search(r"<del>[−\d., ]+</del>", source), "numbers are near or far, not the same or different"


def test_json_has_the_comparison(page):
    report = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert report["comparison"]["models"] == 2
    assert {one["title"] for one in report["results"]} >= {"asr_mini · mert", "asr_mini · wav2vec2"}
    assert report["results"][1]["grid"]["chosen"] == [[1, 3]]
    assert report["results"][1]["grid"]["valid"][2][0] is None


def test_summary_of_many_models(page):
    lines = summary_lines(read_report(page))
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("* best"))]
    assert max(map(len, table)) <= 100
    assert any(line.startswith("Best score among 2 models") for line in lines)
    assert any(line.startswith("wav2vec2 is significantly better than every baseline (") for line in lines)


def test_lines_of_one_result(models_folder):
    lines = result_lines(models_folder[1][0])
    assert lines[0].split()[:3] == ["probe", "score", "mert"]
    assert "*" in lines[1]
    assert len(lines) == 3


def test_a_zero_resource_result_is_read(tmp_path, models_folder):
    """Tasks without training have comparisons instead of predictions, and no learning rate."""
    folder = tmp_path / "abx"
    folder.mkdir()
    scores = {
        "probe": "abx",
        "task": "abx",
        "model": "m",
        "main_metric": "abx_within",
        "metrics": {"abx_within": {"value": 9.0, "low": 8, "high": 10, "higher_is_better": False, "unit": "%"}},
        "runs": [],
        "chosen": {"layer": 1, "lr": None, "seed": None},
        "chosen_layer": 1,
        "layers": [{"layer": n, "metric": "abx_within", "valid": 9.0 + n, "low": None, "high": None} for n in (0, 1)],
        "folds": 0,
    }
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    (folder / "comparisons.parquet").write_bytes((models_folder[1][5] / "trials.parquet").read_bytes())
    page = build_report([folder, models_folder[1][0]], tmp_path / "r.html")
    found = read(page)
    assert "abx/comparisons.parquet" in found.targets
    assert "ABX within speakers" in text_of(found)


def test_a_damaged_table_is_named(tmp_path, models_folder):
    from audio_ssl.base.errors import UserError

    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "scores.json").write_bytes((models_folder[1][0] / "scores.json").read_bytes())
    (folder / "predictions.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="not a table that can be read"):
        build_report([folder], tmp_path / "r.html")
