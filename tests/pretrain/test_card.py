from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audio_ssl.base.config import traits_of
from audio_ssl.pretrain.jobs import KindTraits
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run_folder import CardFacts, write_card

FACTS = CardFacts(
    steps="20",
    train_clips=9,
    valid_clips=1,
    held_out="split `valid`",
    sample_rate=16000,
    left_out=2,
    recipe_hash="abc",
    manifest_hash="def",
)


def test_card_tells_means_validation_and_hours_over_iterations(tmp_path: Path) -> None:
    rows = []
    for step in range(1, 21):
        iteration = 1 if step <= 10 else 2
        row = {"step": step, "iteration": iteration, "loss": float(step), "skipped_steps": iteration - 1}
        rows.append({**row, "audio_seconds": 180.0 * (step - 10 * (iteration - 1))})
    rows[-1]["valid_loss"] = 7.5
    rows[-2]["loss"] = None  # type: ignore[assignment]
    # A damaged row.
    del rows[3]["skipped_steps"], rows[3]["audio_seconds"]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = write_card(tmp_path, "run", "A model.", FACTS)
    assert "| loss | 20 | 7.5 |" in card
    assert "mean of the last 2 updates" in card
    assert "| audio trained on | 1.00 h (epochs counted) |" in card
    assert "| skipped updates | 1 " in card
    assert "2 clips, listed in errors.jsonl" in card


def test_a_collapsed_run_says_so(tmp_path: Path) -> None:
    row = {"step": 20, "loss": 1.0, "skipped_steps": 0, "audio_seconds": 9.0, "valid_loss": 2.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**row, "valid_predicted_perplexity_0": 1.0}) + "\n")
    card = write_card(tmp_path, "run", "A model.", FACTS)
    assert "**At step 20 the predictions are nearly constant: valid_predicted_perplexity_0 is 1 (1: a" in card
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert "nearly constant" not in write_card(tmp_path, "run", "A model.", FACTS)


def test_what_was_learnt_from_models_is_no_audio_of_the_manifest(tmp_path: Path) -> None:
    facts = replace(FACTS, learnt_from=("small", "runs/a"))
    assert "through `small` and `runs/a` on what was heard" in write_card(tmp_path, "run", "A model.", facts)
    assert "named above and on nothing else" in write_card(tmp_path, "run", "A model.", FACTS)


@pytest.mark.parametrize(
    ("recipe", "heard", "teachers"),
    [
        (
            "distil_both",
            ("m-a-p/MERT-v1-95M", "facebook/hubert-base-ls960"),
            "hidden of facebook/hubert-base-ls960 and",
        ),
        ("hubert_tiny", (), "Teachers: kmeans; then kmeans."),
    ],
)
def test_a_recipe_says_which_models_it_learns_from(recipe: str, heard: tuple[str, ...], teachers: str) -> None:
    config = load_recipe(recipe)
    kind = traits_of(config, KindTraits)
    assert kind.learnt_from is not None
    assert kind.learnt_from(config) == heard
    assert teachers in kind.describe(config)


def test_a_run_without_metrics_has_a_card_too(tmp_path: Path) -> None:
    assert "0.00 h" in write_card(tmp_path, "run", "A model.", FACTS)
