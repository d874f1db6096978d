import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.errors import UserError
from audio_ssl.probing.head import HeadBatch
from audio_ssl.probing.heads._shared import frame_losses, margin_losses, mean_and_deviation
from audio_ssl.probing.task import IGNORED
from tests.probing.toys import outputs_of

SMALL = {
    "frames": {"hidden_dim": 16, "dropout": 0.0},
    "frames_conv": {"dim": 8, "layers": 3, "dropout": 0.0},
    "xvector": {"dim": 12, "pooled_dim": 20},
    "mean_embedding": {"dim": 7, "dropout": 0.0},
    "projection": {"dim": 9},
    "attentive": {"hidden_dim": 8, "dropout": 0.0, "statistics": True},
}
OUTPUTS = [
    (kind, output)
    for kind in parts("probing/heads")
    for output in outputs_of(kind)
    if output in ("frames", "embedding", "class")
]
"""Heads of tokens are in `test_heads`; tags and values have the layers of classes."""


def make(kind, output, **more):
    module = load_part("probing/heads", kind)
    torch.manual_seed(0)
    head = module.build(module.Config(**{**SMALL.get(kind, {}), **more}), 6, 4, output)
    assert output in head.outputs
    return head


def random_clips(*frames):
    generator = torch.Generator().manual_seed(sum(frames))
    return [torch.randn(n, 6, generator=generator) for n in frames]


def padded(clips, value=0.0):
    frames = torch.tensor([len(clip) for clip in clips])
    return HeadBatch(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=value), frames)


@pytest.mark.parametrize(("kind", "output"), OUTPUTS)
def test_a_padded_batch_gives_what_single_clips_give(kind, output):
    head = make(kind, output).eval()
    clips = random_clips(3, 31, 1, 17)
    together = head.predict(padded(clips, 7.0))
    for clip, answer in zip(clips, together, strict=True):
        (alone,) = head.predict(padded([clip]))
        torch.testing.assert_close(answer, alone, rtol=1e-4, atol=1e-5)
        assert alone.shape == ((len(clip), 4) if output == "frames" else alone.shape)


@pytest.mark.parametrize(("kind", "output"), OUTPUTS)
def test_copies_run_as_one(kind, output):
    heads = [make(kind, output).eval() for _ in range(3)]
    assert heads[0].stackable
    for head in heads[1:]:
        for parameter in head.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    batch = padded(random_clips(9, 14))
    targets = [torch.tensor(1), torch.tensor(3)]
    if output == "frames":
        targets = [torch.arange(9) % 4, torch.arange(14) % 4]
    stacked, buffers = stack_module_state(heads)

    def run(parameters, features):
        return functional_call(heads[0], (parameters, buffers), (features, batch.frames))

    outputs = vmap(run, in_dims=(0, None))(stacked, batch.features)
    losses = heads[0].losses(outputs, batch.frames, targets)
    alone = torch.stack([head.loss(batch, targets) for head in heads])
    torch.testing.assert_close(losses, alone)
    assert len({round(one, 6) for one in losses.tolist()}) == 3


@pytest.mark.parametrize("kind", ["frames", "frames_conv"])
@pytest.mark.parametrize("sigmoids", [True, False])
def test_frames_are_learned(kind, sigmoids):
    head = make(kind, "frames")
    batch = padded(random_clips(20, 12))
    ids = [clip.argmax(1) % 4 for clip in random_clips(20, 12)]
    targets = [F.one_hot(one, 4).float() for one in ids] if sigmoids else ids
    optimizer = torch.optim.Adam(head.parameters(), 0.03)
    for _ in range(80):
        optimizer.zero_grad()
        head.loss(batch, targets).backward()
        optimizer.step()
    answers = head.eval().predict(batch)
    assert [answer.argmax(1).tolist() for answer in answers] == [one.tolist() for one in ids]


def test_padding_and_frames_without_an_answer_do_not_count():
    outputs = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([5, 2])
    ids = [torch.tensor([0, 1, IGNORED, 2, 0]), torch.tensor([1, 2])]
    flat = torch.cat([outputs[:, 0], outputs[:, 1, :2]], dim=1)
    expected = [F.cross_entropy(row, torch.cat(ids), ignore_index=IGNORED) for row in flat]
    torch.testing.assert_close(frame_losses(outputs, frames, ids), torch.stack(expected))
    soft = [torch.rand(5, 3), torch.rand(2, 3)]
    expected = [F.binary_cross_entropy_with_logits(row, torch.cat(soft)) for row in flat]
    torch.testing.assert_close(frame_losses(outputs, frames, soft), torch.stack(expected))
    changed = outputs.clone()
    changed[:, 1, 2:] = 50.0
    torch.testing.assert_close(frame_losses(changed, frames, soft), torch.stack(expected))
    # A batch in which no frame has an answer costs nothing instead of dividing by zero.
    assert frame_losses(outputs, frames, [torch.full((5,), IGNORED), torch.full((2,), IGNORED)]).tolist() == [0, 0]


def test_the_margin_softmax_is_that_of_the_formula():
    cosines = torch.tensor([[0.7, -0.2, 0.1], [0.3, 0.5, -0.9]])
    targets = [torch.tensor(0), torch.tensor(2)]
    total = 0.0
    for row, target in zip(cosines, targets, strict=True):
        right = (30 * (row[target] - 0.4)).exp()
        others = sum((30 * row[i]).exp() for i in range(3) if i != target)
        total -= (right / (right + others)).log() / 2
    torch.testing.assert_close(margin_losses(cosines[None], targets, 30.0, 0.4)[0], total)


def test_statistics_are_mean_and_deviation_of_a_clips_own_frames():
    clip = random_clips(8)[0]
    batch = padded([clip, random_clips(11)[0]], 5.0)
    mask = torch.arange(11) < batch.frames[:, None]
    found = mean_and_deviation(batch.features, mask)
    torch.testing.assert_close(found[0], torch.cat([clip.mean(0), clip.std(0, correction=0)]))
    weights = torch.zeros(2, 11)
    weights[:, :2] = 0.5
    torch.testing.assert_close(mean_and_deviation(batch.features, mask, weights)[0, :6], clip[:2].mean(0))


@pytest.mark.parametrize("kind", ["xvector", "mean_embedding"])
def test_vectors_of_one_class_come_together_beyond_the_classes_of_training(kind):
    generator = torch.Generator().manual_seed(4)
    voices = 3 * torch.randn(12, 6, generator=generator)

    def clips_of(numbers):
        return [voices[i] + torch.randn(15, 6, generator=generator) for i in numbers]

    module = load_part("probing/heads", kind)
    torch.manual_seed(0)
    head = module.build(module.Config(**SMALL[kind]), 6, 8, "embedding")
    numbers = [i for i in range(8) for _ in range(4)]
    batch, targets = padded(clips_of(numbers)), [torch.tensor(i) for i in numbers]
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    first = head.loss(batch, targets).item()
    for _ in range(80):
        optimizer.zero_grad()
        head.loss(batch, targets).backward()
        optimizer.step()
    assert head.loss(batch, targets).item() < 0.5 * first
    unmet = [i for i in range(8, 12) for _ in range(4)]
    vectors = F.normalize(torch.stack(head.eval().predict(padded(clips_of(unmet)))), dim=1)
    assert vectors.shape[1] == SMALL[kind]["dim"]
    cosines = vectors @ vectors.T
    same = torch.tensor(unmet)[:, None] == torch.tensor(unmet)
    assert cosines[same].mean() > cosines[~same].mean() + 0.2


def test_a_linear_projection_answers_the_same_on_the_mean_frame():
    head = make("projection", "class").eval()
    assert not head.needs_frames
    clips = random_clips(5, 9)
    means = padded([clip.mean(0, keepdim=True) for clip in clips])
    for whole, mean in zip(head.predict(padded(clips, 3.0)), head.predict(means), strict=True):
        torch.testing.assert_close(whole, mean)
    assert make("projection", "class", relu=True).needs_frames


def test_an_even_kernel_is_refused():
    module = load_part("probing/heads", "frames_conv")
    with pytest.raises(UserError, match="`kernel_frames` must be odd, but is 4"):
        module.build(module.Config(kernel_frames=4), 6, 5, "frames")
