"""Speaker verification through the whole stage."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.verification import EER, MIN_DCF, eer
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.score import score_trials, trial_interval, trial_value


class Pairs:
    def __init__(self, pairs):
        self._pairs = pairs

    def trials(self, clips):
        return self._pairs


def test_trials_are_cosines_and_their_interval_is_over_speakers():
    clips = [Clip(str(i), f"{i}.wav", 0.0, 1.0, 16000, speaker="abcd"[i // 3]) for i in range(12)]
    random = torch.Generator().manual_seed(0)
    vectors = [torch.eye(4)[i // 3] + 0.9 * torch.randn(4, generator=random) for i in range(12)]
    pairs = [(i, j, i // 3 == j // 3) for i in range(12) for j in range(i)]
    trials = score_trials(Pairs(pairs), clips, vectors)
    expected = [float(torch.cosine_similarity(vectors[i], vectors[j], dim=0)) for i, j, _ in pairs]
    np.testing.assert_allclose(trials.scores, expected, atol=1e-6)
    value = trial_value(EER, trials)
    assert value == eer(trials.scores, trials.same)
    assert 0 < value < 50
    interval, unit = trial_interval(EER, trials, clips)
    assert (interval.value, unit) == (value, "speakers")
    assert interval.low <= value <= interval.high
    assert trial_interval(MIN_DCF, trials, clips)[0].high <= 1.0


def test_trials_of_one_kind_are_refused():
    clips = [Clip(str(i), f"{i}.wav", 0.0, 1.0, 16000, speaker=str(i)) for i in range(3)]
    with pytest.raises(UserError, match="0 of 2 trials are of the same speaker: both kinds are needed"):
        score_trials(Pairs([(0, 1, False), (1, 2, False)]), clips, [torch.ones(2)] * 3)


def test_verification_writes_its_trials(toy_manifest, tmp_path):
    overrides = [
        f"data.manifest={toy_manifest}",
        "task={kind: speaker_verification}",
        "head={kind: mean_embedding}",
        "optim.steps=6",
        "optim.eval_every=3",
        "baselines=[]",
        "data.where={language: toy}",
    ]
    probe = tmp_path / "verify.yaml"
    probe.write_text("# Who is it?\ntask: {kind: speaker_verification}\nhead: {kind: mean_embedding}\n")
    out = run_probe(str(probe), "logmel", tmp_path / "r", overrides)
    found = json.loads((out / "scores.json").read_text())
    table = pq.read_table(out / "trials.parquet").to_pylist()
    assert set(table[0]) == {"clip_a", "clip_b", "score", "same"}
    scores, same = np.array([row["score"] for row in table]), np.array([row["same"] for row in table])
    assert found["metrics"]["eer"]["value"] == pytest.approx(eer(scores, same))
    assert found["metrics"]["min_dcf"]["unit"] == "cost"
    # That speakers are known from training is what the task is about.
    assert found["warnings"] == []
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert "hypothesis" not in rows[0]
    assert len(rows[0]["embedding"]) > 1
