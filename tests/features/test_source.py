import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.errors import UserError
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


def test_what_is_no_source_is_refused():
    with pytest.raises(UserError, match=r"there is no model `nothing` \(give a run folder.*logmel, cqt"):
        open_source("nothing")
