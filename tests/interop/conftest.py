"""What every layout must pass: each hidden state as in the original, and each clip in a padded batch as alone."""

import pytest
import torch

TOLERANCE = 1e-5
SAMPLES = (12345, 4321, 9000)


def noise(samples=SAMPLES[0], seed=1):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def difference(ours, theirs):
    assert len(ours) == len(theirs)
    assert all(one.shape == other.shape for one, other in zip(ours, theirs, strict=True))
    return max((one - other).abs().max().item() for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="session")
def perturb():
    """Make random weights of an untrained model that no part is without effect."""

    def apply(module, seed=0, size=0.03):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
        return module.eval()

    return apply


@pytest.fixture(scope="session")
def check():
    """Compare a model with the original, given as a function from one waveform to its hidden states.

    Originals compute in float64 where they can: in float32 they are as far from that as ours are.
    """

    @torch.no_grad()
    def apply(model, original, tolerance=TOLERANCE):
        waveform = noise()
        assert difference(model(waveform).hidden, original(waveform)) <= tolerance
        clips = [noise(samples, seed) for seed, samples in enumerate(SAMPLES)]
        batch = torch.full((len(clips), max(SAMPLES)), 7.0)
        for row, clip in zip(batch, clips, strict=True):
            row[: clip.shape[1]] = clip[0]
        together = model(batch, torch.tensor(SAMPLES))
        for index, clip in enumerate(clips):
            frames = int(together.lengths[index])
            alone = original(clip)
            assert difference([state[index : index + 1, :frames] for state in together.hidden], alone) <= tolerance

    return apply
