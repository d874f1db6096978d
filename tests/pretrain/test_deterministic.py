"""Without a GPU nothing is changed: every kernel of a CPU repeats."""

import os

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.distributed import deterministic


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


def test_an_operation_without_such_a_kernel_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match="cumsum_cuda_kernel"), deterministic(True):
        raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation")
    with pytest.raises(RuntimeError, match="out of memory"), deterministic(True):
        raise RuntimeError("out of memory")
