import logging
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import fill_in
from audio_ssl.models.frontends import mel
from audio_ssl.targets.spec import check_targets, needs_fit
from audio_ssl.targets.teachers import mel_rvq
from audio_ssl.targets.teachers._learnt_rvq import STALE, CodeStage, LearntRVQ, learn

CPU = torch.device("cpu")
SMALL = mel_rvq.Config(
    n_mels=40,
    window_seconds=0.05,
    mean=None,
    std=None,
    form="stages",
    codebooks=4,
    codebook_size=16,
    code_dim=6,
    batch_frames=100,
)


def clips(count=12, first=0):
    out = []
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        time = torch.arange(16000) / 16000
        sweep = torch.sin(2 * torch.pi * (200 + 150 * (number % 7)) * time * (1 + time))
        swell = 0.5 + 0.5 * torch.sin(2 * torch.pi * (1 + number % 3) * time)
        out.append(sweep * swell + 0.05 * torch.randn(16000, generator=generator))
    return out


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    save_file(mel_rvq.fit(SMALL, clips(), 16000, torch.Generator().manual_seed(0)), folder / mel_rvq.STATE_FILE)
    return str(folder)


def make(path, **options):
    return mel_rvq.build(replace(SMALL, path=path, **options), 16000, CPU)


def decode(teacher, codes):
    """Return the standardised patches that codes stand for; the first few codebooks alone give coarse ones."""
    return sum((teacher._quantiser._value(codes[:, k], k) for k in range(codes.shape[1])), torch.zeros(()))


def errors(teacher, waveforms):
    """Return the mean square that is left after 0, 1, ... codebooks."""
    patches = torch.cat([teacher.patches(clip) for clip in waveforms])
    codes = torch.cat([teacher(clip) for clip in waveforms])
    return [float((patches - decode(teacher, codes[:, :k])).square().mean()) for k in range(codes.shape[1] + 1)]


@pytest.mark.parametrize("first", [0, 100])
def test_every_codebook_improves_the_reconstruction_of_known_and_unknown_clips(path, first):
    left = errors(make(path), clips(6, first))
    assert all(after < 0.97 * before for before, after in pairwise(left))
    assert left[-1] < 0.5 * left[0]


def test_more_codes_reconstruct_better(path, tmp_path):
    bigger = replace(SMALL, codebook_size=64, path=str(tmp_path))
    save_file(mel_rvq.fit(bigger, clips(), 16000, torch.Generator().manual_seed(0)), tmp_path / mel_rvq.STATE_FILE)
    assert errors(mel_rvq.build(bigger, 16000, CPU), clips())[-1] < 0.9 * errors(make(path), clips())[-1]


def test_each_code_is_the_nearest_to_what_is_left_over(path):
    teacher = make(path)
    clip = clips(1)[0]
    codes = teacher(clip)
    state = load_file(f"{path}/{mel_rvq.STATE_FILE}")
    for stage in range(4):
        left = teacher.patches(clip) - decode(teacher, codes[:, :stage])
        distances = torch.cdist(left @ state["projection"][stage], state["codes"][stage])
        assert torch.equal(codes[:, stage], distances.argmin(1))
        identity = state["projection"][stage].T @ state["projection"][stage]
        torch.testing.assert_close(identity, torch.eye(6), rtol=0, atol=1e-5)


def test_codes_keep_what_the_spec_promises_and_all_are_used(path):
    teacher = make(path)
    for samples in (10, 900, 16000):
        check_targets(teacher(torch.zeros(samples)), teacher.spec, samples)
    codes = torch.cat([teacher(clip) for clip in clips()])
    assert all(len(codes[:, k].unique()) >= 12 for k in range(4))
    frontend = mel.build(mel.Config(n_mels=40, window_seconds=0.05), 16000)
    assert teacher.spec.grid == frontend.grid
    assert mel_rvq.target_spec(SMALL, 16000, CPU) == teacher.spec


def test_the_same_seed_gives_the_same_teacher(path, tmp_path):
    save_file(mel_rvq.fit(SMALL, clips(), 16000, torch.Generator().manual_seed(0)), tmp_path / mel_rvq.STATE_FILE)
    assert make(path).fingerprint == make(str(tmp_path)).fingerprint
    save_file(mel_rvq.fit(SMALL, clips(), 16000, torch.Generator().manual_seed(1)), tmp_path / mel_rvq.STATE_FILE)
    assert make(path).fingerprint != make(str(tmp_path)).fingerprint


def test_fitting_says_how_much_is_left_after_each_codebook(caplog):
    with caplog.at_level(logging.INFO):
        mel_rvq.fit(SMALL, clips(3), 16000, torch.Generator().manual_seed(0))
    assert caplog.text.count("of the variance") == 4
    assert needs_fit(SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codebook_size": 5000}, "at least as many patches as `codebook_size` 5000, but has"),
        ({"codebooks": 0}, "`codebooks` must be at least 1, but is 0"),
        ({"code_dim": 500}, "`code_dim` must be at most the 160 dimensions of a patch"),
        ({"hop_seconds": 0.0}, "`hop_seconds` must last at least a sample"),
        ({"form": "vq"}, "`form` must be muq or stages, but is `vq`"),
        ({"mean": 1.0}, "`mean` and `std` must be given together"),
        ({"mean": 1.0, "std": 0.0}, "`std` must be above 0"),
        ({"n_mels": 200, "window_seconds": 0.01}, "of `n_mels` 200 bands are empty"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        mel_rvq.fit(replace(SMALL, **options), clips(1), 16000, torch.Generator())


def test_a_state_that_is_missing_damaged_or_of_other_patches_is_refused(path, tmp_path):
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        mel_rvq.build(SMALL, 16000, CPU)
    with pytest.raises(UserError, match="not the fitted state of this teacher"):
        make(str(tmp_path))
    with pytest.raises(UserError, match="patches of 160 dimensions, but these have 80"):
        make(path, stack=2)
    with pytest.raises(UserError, match=r"codebooks, codes and dimensions \(4, 16, 6\), the config \(8, 16, 6\)"):
        make(path, codebooks=8)


def test_a_state_fitted_before_there_were_forms_gives_the_same_codes_and_fingerprint(tmp_path):
    random = torch.Generator().manual_seed(7)
    state = {
        "mean": torch.randn(160, generator=random) - 6,
        "scale": torch.rand(160, generator=random) + 0.5,
        "projection": torch.randn(3, 160, 6, generator=random) / 10,
        "codes": torch.randn(3, 16, 6, generator=random),
    }
    save_file(state, tmp_path / mel_rvq.STATE_FILE)
    config = fill_in(
        mel_rvq.Config,
        {
            "path": str(tmp_path),
            "n_mels": 40,
            "window_seconds": 0.05,
            "codebooks": 3,
            "codebook_size": 16,
            "code_dim": 6,
        },
        version=1,
    )
    teacher = mel_rvq.build(mel_rvq.Config(**config), 16000, CPU)
    time = torch.arange(8000) / 16000
    # Both were recorded with the release before.
    assert teacher.fingerprint == "cad11af64d49bc4e"
    codes = [[2, 13, 13]] * 3 + [[2, 3, 13]] * 2 + [[11, 3, 13]] * 3 + [[11, 7, 4]] * 2 + [[11, 7, 9]]
    assert teacher(torch.sin(2 * torch.pi * 300 * time * (1 + 3 * time))).tolist() == codes


LEARNT = replace(SMALL, mean=-20.0, std=20.0, form="muq", fit_steps=400, batch_frames=200)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt")
    save_file(mel_rvq.fit(LEARNT, clips(), 16000, torch.Generator().manual_seed(0)), folder / mel_rvq.STATE_FILE)
    return str(folder)


@pytest.mark.parametrize("first", [0, 100])
def test_what_is_learnt_reconstructs_known_and_unknown_clips(learnt, first):
    teacher = mel_rvq.build(replace(LEARNT, path=learnt), 16000, CPU)
    left = errors(teacher, clips(6, first))
    assert left[-1] < 0.35 * left[0]
    codes = torch.cat([teacher(clip) for clip in clips()])
    assert all(len(codes[:, k].unique()) >= 6 for k in range(4))
    assert codes.shape[1] == 4
    for samples in (10, 900, 16000):
        check_targets(teacher(torch.zeros(samples)), teacher.spec, samples)
    assert mel_rvq.target_spec(LEARNT, 16000, CPU) == teacher.spec


def test_what_is_learnt_is_what_the_teacher_says():
    """The state that is saved gives the codes and values of the module that was trained."""
    patches = torch.randn(50, 160, generator=torch.Generator().manual_seed(1))
    model = learn(patches, (4, 16, 6), 3, 20, torch.Generator().manual_seed(2))
    quantiser = mel_rvq._Quantiser(model.state(), by_direction=True)
    found = model(patches)
    assert torch.equal(quantiser.quantize(patches), found.codes)
    values = sum(quantiser._value(found.codes[:, number], number) for number in range(4))
    torch.testing.assert_close(values, found.values.detach())
    again = learn(patches, (4, 16, 6), 3, 20, torch.Generator().manual_seed(2))
    assert all(torch.equal(value, again.state()[name]) for name, value in model.state().items())


def test_gradients_pass_the_choice_of_a_code():
    patches = torch.randn(50, 160, generator=torch.Generator().manual_seed(1))
    model = LearntRVQ(160, 2, 16, 6)
    model(patches).loss(patches).backward()
    assert all(bool(parameter.grad.any()) for parameter in model.parameters())


def test_codes_that_nothing_is_near_to_are_replaced():
    torch.manual_seed(0)
    stage = CodeStage(20, 8, 4)
    rest = torch.randn(30, 20)
    with torch.no_grad():
        stage.codes[3] = 1e3 * stage.codes[3]
        before = stage.codes.clone()
    index = torch.tensor([0, 1, 2, 4, 5, 6, 7] * 4 + [0, 1])
    replaced = [stage.revive(rest, index, torch.Generator().manual_seed(0)) for _ in range(STALE)]
    assert replaced == [0] * (STALE - 1) + [1]
    assert torch.equal(stage.codes[:3], before[:3])
    projected = torch.nn.functional.normalize(stage.inward(rest), dim=1)
    assert (stage.codes[3] - projected).abs().amax(1).min() < 1e-6


def test_the_statistics_of_the_corpus_are_told(caplog):
    with caplog.at_level(logging.INFO):
        mel_rvq.fit(replace(LEARNT, fit_steps=1), clips(3), 16000, torch.Generator().manual_seed(0))
    (line,) = [line for line in caplog.messages if line.startswith("mel values of this corpus")]
    assert line.endswith("in use: -20.000 and 20.000 (`mean` and `std` of frontend and teacher)")
    values = torch.cat([mel_rvq._patches(LEARNT, 16000)(clip) for clip in clips(3)])
    assert f"mean {float(20 * values.mean() - 20):.3f} dB" in line
    assert f"deviation {float(20 * values.std(unbiased=False)):.3f} dB" in line
