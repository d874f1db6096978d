"""What GPUs compute in rows, here on a CPU: float32 is the model itself, halves are near it, batches do not matter."""

import pytest
import torch

from audio_ssl.models.fast import unpadded
from audio_ssl.models.fast.unpadded import UnpaddedModel
from tests.models.test_prepare import LENGTHS, batch, make, relative_error

NAMES = ("base", "odd kernel", "large", "no feature norm")


def every_state(output):
    return [*output.hidden, output.features]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_float32_is_the_model_itself(name):
    model = make(name, normalize=name == "large")
    ours, expected = UnpaddedModel(model, torch.float32)(*batch()), model(*batch())
    for one, other in zip(every_state(ours), every_state(expected), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert torch.equal(ours.lengths, expected.lengths)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_halves_are_near_and_padding_has_no_influence(name, dtype):
    model = make(name)
    rows, (waveform, lengths) = UnpaddedModel(model, dtype), batch()
    together, expected = rows(waveform, lengths), model(waveform, lengths)
    for row, samples in enumerate(LENGTHS):
        frames = int(expected.lengths[row])
        alone = rows(waveform[row : row + 1, :samples], lengths[row : row + 1])
        for one, other, exact in zip(together.hidden, alone.hidden, expected.hidden, strict=True):
            assert not one[row, frames:].any()
            if frames:
                assert relative_error(one[row, :frames], exact[row, :frames]) < 0.02
                assert relative_error(one[row, :frames], other[0]) < 0.005


@torch.no_grad()
def test_masked_frames_and_fewer_layers():
    model = make("base")
    waveform, lengths = batch()
    frames = model(waveform, lengths).lengths
    mask = torch.rand(len(lengths), int(frames.max()), generator=torch.Generator().manual_seed(2)) < 0.3
    ours = UnpaddedModel(model, torch.float32)(waveform, lengths, mask, layers=1)
    expected = model(waveform, lengths, mask, layers=1)
    assert len(ours.hidden) == 2
    for one, other in zip(ours.hidden, expected.hidden, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
@torch.no_grad()
def test_parts_of_a_clip_with_its_statistics(normalize):
    model = make("base", normalize)
    waveform = 0.3 * torch.randn(1, 64_000, generator=torch.Generator().manual_seed(3)) + 0.1
    statistics = model.statistics([waveform[0, :20_001], waveform[0, 20_001:]])
    parts, lengths = waveform.view(2, -1), torch.tensor([32_000, 32_000])
    ours = UnpaddedModel(model, torch.float32)(parts, lengths, statistics=statistics)
    expected = model(parts, lengths, statistics=statistics)
    torch.testing.assert_close(ours.hidden[-1], expected.hidden[-1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_clips_without_a_frame():
    model = make("base")
    output = UnpaddedModel(model, torch.float32)(torch.zeros(2, 200), torch.tensor([200, 100]))
    assert [tuple(state.shape) for state in output.hidden] == [(2, 0, 32)] * 3


def test_models_that_rows_do_not_fit():
    assert [
        name for name in ("base", "large", "wavlm", "conformer", "gru") if unpadded.can_run_unpadded(make(name))
    ] == [
        "base",
        "large",
    ]
