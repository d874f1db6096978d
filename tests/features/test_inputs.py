"""What is given to a model is checked once, and the error says what to do."""

import numpy as np
import pytest
import torch

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.models.model import SSLModel
from audio_ssl.models.waveforms import check_shapes, checked_batch


@pytest.fixture
def model(run_folder):
    return audio_ssl.load(run_folder)


WAVES = 0.1 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))


def hidden(model, *given):
    with torch.no_grad():
        return model(*given).hidden[-1]


@pytest.mark.parametrize(
    ("waveform", "lengths", "message", "mended"),
    [
        (WAVES[:, None], None, r"must be \[batch, sample\], but is \[3, 1, 4000\]", lambda w, n: (w.mean(1), n)),
        (WAVES[:2].T, None, r"clip 0 of the batch has 2 samples", lambda w, n: (w.mean(-1), n)),
        ((WAVES * 32767).short(), None, r"from -1 to 1, but is int16", lambda w, n: (w.float() / 32768, n)),
        ((WAVES * 32767).int() << 16, None, r"is int32", lambda w, n: (w.float() / 2147483648, n)),
        (WAVES * 32767, None, r"must lie between -1 and 1, but clip 0 reaches \d+", lambda w, n: (w / 32768, n)),
        (WAVES, torch.tensor([1.0, 0.5, 0.75]), r"`lengths` must be whole numbers of samples, but is float32",
         lambda w, n: (w, (n * w.shape[1]).round().long())),
        (WAVES, torch.ones(3, 4000).long(), r"is \[3, 4000\] like a mask", lambda w, n: (w, n.sum(1))),
        (WAVES, torch.tensor([4000, 4001, 4000]), r"at most the 4000 samples of the batch, but is 4001", None),
        (WAVES, torch.tensor([4000, -1, 4000]), r"but is -1 for clip 1", None),
        (WAVES, torch.tensor([4000, 399, 4000]), r"clip 1 of the batch has 399 samples, and a frame needs 400", None),
        (WAVES, torch.tensor([4000, 0, 4000]), r"clip 1 of the batch has 0 samples", None),
        (WAVES, torch.tensor([4000, 4000]), r"`lengths` must be \[3\], one number a clip, but is \[2\]", None),
        (WAVES[:, :300], None, r"clip 0 of the batch has 300 samples, and a frame needs 400", None),
        (WAVES[:, :0], None, r"at least one clip and one sample, but is \[3, 0\]", None),
        (WAVES.numpy(), None, r"must be a tensor, but is ndarray", lambda w, n: (torch.as_tensor(w), n)),
        (WAVES.index_fill(1, torch.tensor([7]), torch.nan), None, r"clip 0 of the batch has NaN or infinite", None),
        (WAVES.index_fill(1, torch.tensor([7]), -torch.inf), None, r"clip 0 of the batch has NaN or infinite", None),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_with_the_remedy(model, waveform, lengths, message, mended):
    with pytest.raises(UserError, match=message) as caught:
        model(waveform, lengths)
    assert "`" in str(caught.value) or "clip" in str(caught.value)
    if mended is not None:
        assert caught.value.remedy
        assert hidden(model, *mended(waveform, lengths)).isfinite().all()


def test_one_clip_is_a_batch_of_one(model):
    torch.testing.assert_close(hidden(model, WAVES[0]), hidden(model, WAVES[:1]))
    torch.testing.assert_close(hidden(model, WAVES[0], torch.tensor(3000)), hidden(model, WAVES[:1], [3000]))


def test_other_floating_types_and_lists_of_lengths_are_taken(model):
    expected = hidden(model, WAVES, torch.tensor([4000, 3000, 2000]))
    torch.testing.assert_close(hidden(model, WAVES.double(), [4000, 3000, 2000]), expected)
    torch.testing.assert_close(hidden(model, WAVES, np.array([4000, 3000, 2000])), expected)
    torch.testing.assert_close(hidden(model, WAVES, torch.tensor([4000, 3000, 2000], dtype=torch.int32)), expected)


def test_what_lies_past_a_clip_has_no_influence(model):
    lengths = torch.tensor([4000, 3000, 2000])
    dirty = torch.where(torch.arange(4000) < lengths[:, None], WAVES, torch.nan)
    torch.testing.assert_close(hidden(model, dirty, lengths), hidden(model, WAVES, lengths))


def test_the_model_below_looks_at_shapes_and_types(run_folder):
    model = SSLModel.from_pretrained(run_folder)
    for waveform, lengths in ((WAVES[0], None), (WAVES.short(), None), (WAVES, torch.tensor([1.0, 0.5, 0.5]))):
        with pytest.raises(UserError, match="must"):
            model(waveform, lengths)


def test_gradients_go_through(model):
    model.train()
    waveform = WAVES.clone().requires_grad_()
    model(waveform).hidden[-1].sum().backward()
    assert waveform.grad is not None


def test_a_compiled_graph_is_not_broken(model):
    like = next(model.parameters())

    def check(waveform, lengths):
        check_shapes(waveform, lengths)
        return checked_batch(waveform, lengths, shortest_samples=400, like=like, normalized=False)

    lengths = torch.tensor([4000, 3000, 2000])
    compiled = torch.compile(check, backend="eager", fullgraph=True)
    for found, expected in zip(compiled(WAVES, lengths), check(WAVES, lengths), strict=True):
        torch.testing.assert_close(found, expected)
