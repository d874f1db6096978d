"""Prepared models on a GPU against the model itself on a CPU, in batches and alone."""

import pytest
import torch

from audio_ssl.models.fast.prepared import prepare
from tests.models.test_prepare import LENGTHS, MODELS, batch, make, relative_error

GPU = torch.device("cuda")


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_float32_is_the_model_itself(name):
    model = make(name, normalize=name == "large")
    expected, ours = model(*batch()), prepare(model, "float32", GPU)(*batch())
    for one, other in zip([*ours.hidden, ours.features], [*expected.hidden, expected.features], strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_halves_are_near_and_do_not_depend_on_the_batch(name, precision):
    model = make(name)
    ready = prepare(model, precision, GPU)
    waveform, lengths = batch()
    expected, together = model(waveform, lengths), ready(waveform, lengths)
    for row, samples in enumerate(LENGTHS):
        frames = int(expected.lengths[row])
        if not frames:
            continue
        alone = ready(waveform[row : row + 1, :samples])
        for one, other, exact in zip(together.hidden, alone.hidden, expected.hidden, strict=True):
            assert relative_error(one[row, :frames].cpu(), exact[row, :frames]) < 0.03
            assert relative_error(one[row, :frames], other[0, :frames]) < 0.02
