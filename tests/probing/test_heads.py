import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.errors import UserError
from audio_ssl.probing.head import HeadBatch
from tests.probing.toys import outputs_of

SMALL = {
    "ctc": {"projection_dim": 8, "lstm_layers": 1, "lstm_dim": 8},
    "ctc_conv": {"dim": 8, "layers": 2, "kernel_frames": 5},
    "ctc_dnn": {"dim": 32, "layers": 2},
    "seq2seq": {"dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "max_tokens": 7},
    "mlp": {"hidden_dim": 8},
    "attentive": {"hidden_dim": 8},
}
SEQUENCE = [kind for kind in parts("probing/heads") if "tokens" in outputs_of(kind)]


def make(kind, output=None, **more):
    module = load_part("probing/heads", kind)
    torch.manual_seed(0)
    return module.build(
        module.Config(**SMALL.get(kind, {}), **more), 6, 5, output or ("tokens" if kind in SEQUENCE else "class")
    )


@pytest.mark.parametrize("kind", SEQUENCE)
@settings(max_examples=8, deadline=None)
@given(frames=st.lists(st.integers(9, 30), min_size=2, max_size=4))
def test_a_padded_batch_gives_what_single_clips_give(kind, frames):
    head = make(kind).eval()
    generator = torch.Generator().manual_seed(sum(frames))
    clips = [torch.randn(n, 6, generator=generator) for n in frames]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    padded = torch.where((torch.arange(padded.shape[1]) < torch.tensor(frames)[:, None])[..., None], padded, 7.0)
    together = head.predict(HeadBatch(padded, torch.tensor(frames)))
    for clip, prediction in zip(clips, together, strict=True):
        (alone,) = head.predict(HeadBatch(clip[None], torch.tensor([len(clip)])))
        assert torch.equal(alone, prediction)


@pytest.mark.parametrize("kind", SEQUENCE)
def test_a_sequence_is_learned(kind):
    head = make(kind)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 24, 6, generator=generator)
    batch = HeadBatch(features, torch.tensor([24, 24, 24]))
    targets = [torch.tensor([0, 1, 2]), torch.tensor([3, 3]), torch.tensor([4])]
    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = head.loss(batch, targets)
        loss.backward()
        optimizer.step()
    assert [p.tolist() for p in head.eval().predict(batch)] == [t.tolist() for t in targets]


def test_ctc_needs_enough_frames():
    head = make("ctc_conv")
    assert head.why_not(5, torch.tensor([1, 2, 3, 4, 0])) is None
    assert head.why_not(5, torch.tensor([1, 1, 2, 3, 4])) == "5 characters need 6 frames, but there are 5"


def test_mlp_tells_classes_from_tags():
    head = make("mlp")
    batch = HeadBatch(torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(0)), torch.ones(4, dtype=torch.long))
    assert head.loss(batch, list(torch.tensor([0, 1, 2, 4]))).ndim == 0
    assert head.loss(batch, list(torch.eye(5)[:4])).ndim == 0
    assert len(head.predict(batch)) == 4


def test_an_even_kernel_is_refused():
    module = load_part("probing/heads", "ctc_conv")
    with pytest.raises(UserError, match="`kernel_frames` must be odd, but is 4"):
        module.build(module.Config(kernel_frames=4), 6, 5, "tokens")
