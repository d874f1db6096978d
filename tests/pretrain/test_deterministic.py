"""Without a GPU nothing is changed: every kernel of a CPU repeats."""

import os

import pytest
import torch

from audio_ssl.pretrain.deterministic import deterministic


@pytest.mark.parametrize("asked", [False, True])
def test_settings_are_put_back(asked, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked)
    with deterministic(asked):
        assert torch.are_deterministic_algorithms_enabled() == asked
        assert torch.backends.cudnn.deterministic == asked
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == asked
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
