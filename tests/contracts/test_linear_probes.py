"""The linear probes of the benchmarks: what whitening must leave alone, and what a probe must find."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def frames_of(clips: int, scales: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.linalg.qr(torch.randn(len(scales), len(scales), generator=generator))[0]
    return {str(i): 3 + torch.randn(200, len(scales), generator=generator) * scales @ mixed for i in range(clips)}


def test_whitened_training_frames_have_unit_covariance() -> None:
    from _linear_probes import whiten  # type: ignore[import-not-found]

    frames = frames_of(6, torch.tensor([10.0, 1.0, 0.1]))
    whiten(frames, ["0", "1", "2", "3"])
    seen = torch.cat([frames[name] for name in "0123"])
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(seen.T), torch.eye(3), atol=1e-3, rtol=0)
    # Held-out frames go by the same numbers, so theirs are near but not equal.
    held_out = torch.cov(torch.cat([frames["4"], frames["5"]]).T)
    assert 1e-3 < (held_out - torch.eye(3)).abs().max() < 0.5


def test_directions_of_rounding_errors_are_left_out() -> None:
    from _linear_probes import whiten

    frames = frames_of(4, torch.tensor([10.0, 1.0, 1e-5]))
    whiten(frames, list(frames))
    assert all(states.shape == (200, 2) for states in frames.values())


def test_answers_of_another_question_are_not_taken_up() -> None:
    from _learning import TASKS, _asked  # type: ignore[import-not-found]

    tasks = [task for domain in TASKS.values() for task in domain]
    assert len({_asked(task) for task in tasks}) == len(tasks)
