import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.features.source import open_source


@pytest.mark.parametrize("kind", ["model", "untrained", "logmel", "cqt"])
def test_batched_equals_single(kind, run_folder):
    source = open_source({"model": run_folder, "untrained": f"untrained:{run_folder}"}.get(kind, kind))

    @settings(max_examples=5, deadline=None)
    @given(st.lists(st.integers(800, 9000), min_size=1, max_size=3))
    def check(lengths):
        generator = torch.Generator().manual_seed(sum(lengths))
        clips = [torch.randn(n, generator=generator) for n in lengths]
        batch = torch.full((len(clips), max(lengths) + 500), 9.0)
        for row, clip in enumerate(clips):
            batch[row, : len(clip)] = clip
        together, frames = source(batch, torch.tensor(lengths))
        assert len(together) == source.num_layers
        for row, clip in enumerate(clips):
            alone, count = source(clip[None], torch.tensor([len(clip)]))
            assert int(count[0]) == int(frames[row]) == source.grid.num_frames(len(clip))
            for ours, single in zip(together, alone, strict=True):
                assert ours.shape[-1] == source.dim
                torch.testing.assert_close(ours[row, : int(count[0])], single[0], atol=1e-5, rtol=1e-4)

    check()


def test_the_untrained_twin_has_the_same_shape_and_other_weights(run_folder):
    model, twin, again = (open_source(n) for n in (run_folder, f"untrained:{run_folder}", f"untrained:{run_folder}"))
    assert (twin.num_layers, twin.dim, twin.grid) == (model.num_layers, model.dim, model.grid)
    assert twin.fingerprint == again.fingerprint != model.fingerprint


@torch.inference_mode()
def test_a_name_may_ask_for_states_before_the_last_residual_sum(run_folder):
    waveform, lengths = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)), torch.tensor([4000])
    usual, before = open_source(run_folder), open_source(f"{run_folder}?point=feed_forward")
    expected = usual.model(waveform, lengths, point="feed_forward").hidden
    for source in (before, before.at(torch.device("cpu"), "float32")):
        for ours, state in zip(source(waveform, lengths)[0], expected, strict=True):
            torch.testing.assert_close(ours, state, rtol=1e-4, atol=1e-5)
    assert torch.equal(usual(waveform, lengths)[0][-1], usual.model(waveform, lengths).hidden[-1])
    # Features on the disk and those that probes share are known by it.
    twin = open_source(f"untrained:{run_folder}?point=feed_forward")
    assert len({usual.fingerprint, before.fingerprint, twin.fingerprint}) == 3
    assert open_source(f"{run_folder}?point=output").fingerprint == usual.fingerprint
    for wrong in ("point=residual", "point=output&point=feed_forward", "point="):
        with pytest.raises(UserError, match="`point` must be output or feed_forward, but is"):
            open_source(f"{run_folder}?{wrong}")


def test_what_is_no_source_is_refused():
    with pytest.raises(
        UserError,
        match=r"there is no model `nothing` \(give the name of a model that ships.*a run folder.*cqt, librosa, logmel",
    ):
        open_source("nothing")
