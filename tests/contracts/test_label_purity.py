"""The measures of labels against phones, and what they were chosen by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import homogeneity_score

from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.teachers import kmeans

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def test_purities_and_information() -> None:
    from label_purity import purity  # type: ignore[import-not-found]

    labels, phones = [0, 0, 0, 1, 1, 2], ["a", "a", "b", "b", "b", "b"]
    found = purity(labels, phones)
    assert found["phone_purity"] == pytest.approx(5 / 6)
    assert found["cluster_purity"] == pytest.approx(4 / 6)
    generator = np.random.default_rng(0)
    many = generator.integers(0, 9, 400)
    said = [str((value + generator.integers(0, 3)) % 5) for value in many]
    assert purity(many.tolist(), said)["pnmi"] == pytest.approx(homogeneity_score(said, many))


def test_a_frame_has_the_phone_at_its_middle() -> None:
    from label_purity import Speech

    speech = Speech([torch.zeros(1600)], [[(0.0, 0.0326, "a"), (0.0326, 0.05, "b")]])
    # Middles of windows of 25 ms every 20 ms: 12.5, 32.5, 52.5, 72.5 ms.
    assert speech.phones(FrameGrid(16000, 320, 400), [4]) == ["a", "a", "pause", "pause"]


def test_features_are_clustered_in_the_better_way() -> None:
    result = json.loads((HOME / "benchmarks" / "results" / "label_purity.json").read_text())
    rows = {(row["what"], row["standardize"]): row for row in result["rows"]}
    for features in ("kaldi_mfcc", "mfcc"):
        raw, scaled = rows[features, False], rows[features, True]
        for measure in ("phone_purity", "cluster_purity", "pnmi"):
            deviation = max(raw[f"{measure}_deviation"], scaled[f"{measure}_deviation"])
            assert raw[measure] - scaled[measure] > 3 * deviation
    assert kmeans.Config().standardize is False
    for iteration in load_recipe("hubert_base").iterations:  # type: ignore[attr-defined]
        assert iteration.teachers[0].standardize is False
