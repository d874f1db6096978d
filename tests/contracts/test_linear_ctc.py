"""The benchmarks' CTC layer: its loss and gradient are torch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def test_loss_and_gradient_are_torchs() -> None:
    from _ctc import _Packed  # type: ignore[import-not-found]

    torch.manual_seed(0)
    # A repeated symbol, a text of one symbol, none at all, and a clip too short for its text.
    texts, lengths = [[1, 2, 2, 3], [4], [], [1, 1, 2]], [17, 9, 5, 3]
    frames = [torch.randn(length, 8) for length in lengths]
    packed = _Packed(frames, texts)
    scores = (3 * packed.frames[:, :5]).requires_grad_()
    padded = torch.nn.utils.rnn.pad_sequence(list(F.log_softmax(scores, -1).split(lengths)))
    symbols = torch.tensor([number for text in texts for number in text])
    counts = torch.tensor([len(text) for text in texts])
    expected = F.ctc_loss(padded, symbols, torch.tensor(lengths), counts, zero_infinity=True)
    expected.backward()  # type: ignore[no-untyped-call]
    loss, gradient = packed.loss(scores.detach())
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, scores.grad, atol=1e-6, rtol=1e-4)


def test_a_layer_learns_to_read() -> None:
    from _ctc import fit, read

    torch.manual_seed(0)
    code = 4 * torch.eye(4)
    texts = [torch.randint(1, 4, (6,)).tolist() for _ in range(40)]
    # Each symbol stands for three frames, a blank frame after it.
    frames = [torch.cat([code[[n, n, n, 0]] for n in text]) + 0.2 * torch.randn(24, 4) for text in texts]
    probe = fit(frames, texts, 4, 300, 0)
    assert all(read(probe, one) == text for one, text in zip(frames, texts, strict=True))
