import pytest
import yaml

from audio_ssl.errors import UserError
from audio_ssl.report.card import model_card


def test_front_matter_is_yaml_with_scores(run_folder, result_folder):
    card = model_card(run_folder, [result_folder], name="tiny", licence="apache-2.0")
    _, head, body = card.split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["license"] == "apache-2.0"
    assert found["metrics"] == ["wer"]
    entry = found["model-index"][0]
    assert entry["name"] == "tiny"
    assert entry["results"][0]["task"]["type"] == "automatic-speech-recognition"
    assert entry["results"][0]["metrics"][0]["value"] > 0
    assert body.lstrip().startswith("# tiny\n")


def test_body_holds_baselines_and_provenance(run_folder, result_folder):
    card = model_card(run_folder, [result_folder])
    assert "| Probe | Score | this model | untrained twin | log-mel frames |" in card
    assert "6f1ed002ab5595859014ebf0951522d9" in card
    assert "- files left out: 3" in card


def test_without_results_there_is_no_score(run_folder):
    card = model_card(run_folder)
    assert "model-index" not in card
    assert "## Scores" not in card


def test_names_cannot_break_the_markdown(run_folder):
    assert "<script>" not in model_card(run_folder, name='x"<script>|')


def test_wrong_folders(run_folder, result_folder):
    with pytest.raises(UserError, match="`run` must be a run folder"):
        model_card(result_folder)
    with pytest.raises(UserError, match="`results` must be result folders"):
        model_card(run_folder, [run_folder])
