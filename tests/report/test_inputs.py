import json

import pytest

from audio_ssl.artifacts.run import RunFolder
from audio_ssl.base.errors import UserError
from audio_ssl.report.inputs import Fairness, Result, read_input, read_inputs


def test_each_kind_is_told_by_its_files(run_folder, result_folder, fairness_file):
    assert isinstance(read_input(run_folder), RunFolder)
    assert isinstance(read_input(result_folder), Result)
    assert isinstance(read_input(fairness_file), Fairness)


def test_a_run_brings_its_codec(run_folder):
    run = read_input(run_folder)
    assert [teacher.path.name for teacher in run.teachers] == ["codec"]
    assert len(run.teachers[0].updates) == 200


def test_no_input():
    with pytest.raises(UserError, match="at least one input"):
        read_inputs([])


def test_missing_path(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read_input(tmp_path / "nowhere")


def test_unknown_folder_says_what_was_found(tmp_path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(UserError, match=r"expected a run folder .* but found a folder with photo\.png"):
        read_input(tmp_path)


def test_parent_folder_names_the_folders_inside(tmp_path, run_folder, result_folder):
    with pytest.raises(UserError, match="did you mean the folders inside it: demo_asr, run"):
        read_input(tmp_path)


def test_unknown_json_names_its_keys(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a": 1, "b": 2}), encoding="utf-8")
    with pytest.raises(UserError, match="found a JSON file with the keys a, b"):
        read_input(path)


def test_unknown_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.touch()
    with pytest.raises(UserError, match=r"found the file notes\.txt"):
        read_input(path)


def test_damaged_json(tmp_path):
    (tmp_path / "scores.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"scores\.json:1:2: not JSON"):
        read_input(tmp_path)


def test_scores_without_metrics(tmp_path):
    (tmp_path / "scores.json").write_text('{"probe": "x"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"scores\.json: .*`(task|main_metric|metrics)`"):
        read_input(tmp_path)


@pytest.mark.parametrize("key", ["excluded", "runs", "layers", "warnings"])
@pytest.mark.parametrize("value", [7, "text", {"a": 1}])
def test_a_part_of_scores_of_another_shape_is_named(tmp_path, key, value):
    scores = {"task": "asr", "main_metric": "wer", "metrics": {"wer": {"value": 1.0}}, key: value}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(UserError, match=rf"scores\.json: `{key}` must be a list"):
        read_input(tmp_path)


def test_a_metric_of_another_shape_is_named(tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps({"task": "asr", "main_metric": "wer", "metrics": {"wer": 1.0}}))
    with pytest.raises(UserError, match=r"scores\.json: `metrics.*wer.*` must be a mapping"):
        read_input(tmp_path)


def test_damaged_line_is_named_but_a_torn_last_one_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st', encoding="utf-8")
    assert [row.step for row in read_input(tmp_path).updates] == [1, 2]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2:\d: not JSON"):
        read_input(tmp_path)
