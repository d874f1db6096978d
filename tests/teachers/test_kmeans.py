import pytest
import torch
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans

from audio_ssl.data.targets import check_targets
from audio_ssl.encoders import transformer
from audio_ssl.errors import UserError
from audio_ssl.frontends import conv
from audio_ssl.model import ModelConfig, SSLModel, build_model
from audio_ssl.teachers import kmeans
from audio_ssl.teachers._base import needs_fit

CPU = torch.device("cpu")


def clips(count=12):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8000, generator=generator) * (1 + i % 3) for i in range(count)]


def fitted(tmp_path, config, **deps):
    state = kmeans.fit(config, clips(), 16000, torch.Generator().manual_seed(1), **deps)
    path = tmp_path / kmeans.STATE_FILE
    save_file(state, path)
    return state, path


@pytest.mark.parametrize("fit_frames", [100, 10_000])
def test_labels_are_the_nearest_centroids(tmp_path, fit_frames):
    config = kmeans.Config(clusters=7, fit_frames=fit_frames, batch_frames=50)
    state, path = fitted(tmp_path, config)
    teacher = kmeans.build(kmeans.Config(path=str(path), clusters=7), 16000, CPU)
    waveform = clips()[3]
    labels = teacher(waveform)
    frames = (kmeans.Mfcc39(16000, 320, 400)(waveform) - state["mean"]) * state["scale"]
    assert torch.equal(labels[:, 0], torch.cdist(frames, state["centroids"]).argmin(-1))
    check_targets(labels, teacher.spec, len(waveform))
    assert len(labels.unique()) > 1


def test_inertia_is_as_good_as_scikit_learn_on_all_frames_at_once(tmp_path):
    config = kmeans.Config(clusters=8, fit_frames=120, batch_frames=60)
    state, _ = fitted(tmp_path, config)
    frames = torch.cat([kmeans.Mfcc39(16000, 320, 400)(c) for c in clips()])
    frames = (frames - state["mean"]) * state["scale"]
    ours = torch.cdist(frames, state["centroids"]).min(-1).values.square().sum()
    theirs = MiniBatchKMeans(8, n_init=5, random_state=0).fit(frames.numpy()).inertia_
    assert ours <= 1.1 * theirs


def test_the_same_seed_gives_the_same_centroids(tmp_path):
    config = kmeans.Config(clusters=5, fit_frames=100)
    first, _ = fitted(tmp_path, config)
    again, _ = fitted(tmp_path, config)
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_hidden_layer_of_a_model(tmp_path):
    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    model = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "run")
    config = kmeans.Config(clusters=4, model=str(tmp_path / "run"), layer=1)
    _, path = fitted(tmp_path, config, load_model=SSLModel.from_pretrained)
    with_path = kmeans.Config(path=str(path), clusters=4, model=config.model, layer=1)
    teacher = kmeans.build(with_path, 16000, CPU, load_model=SSLModel.from_pretrained)
    assert teacher.spec.grid == model.grid
    check_targets(teacher(clips()[0]), teacher.spec, 8000)
    with pytest.raises(UserError, match="the model of the k-means teacher is for 16000 Hz"):
        kmeans.build(with_path, 24000, CPU, load_model=SSLModel.from_pretrained)
    with pytest.raises(UserError, match="`layer` must be 0 to 2, but is 9"):
        kmeans.fit(
            kmeans.Config(model=config.model, layer=9),
            clips(),
            16000,
            torch.Generator(),
            load_model=SSLModel.from_pretrained,
        )


def test_what_is_missing_is_explained(tmp_path):
    assert needs_fit(kmeans.Config())
    assert not needs_fit(kmeans.Config(path="x"))
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        kmeans.build(kmeans.Config(), 16000, CPU)
    with pytest.raises(UserError, match="not a fitted k-means state"):
        kmeans.build(kmeans.Config(path=str(tmp_path)), 16000, CPU)
    with pytest.raises(UserError, match="at least as many frames as `clusters` 5000"):
        kmeans.fit(kmeans.Config(clusters=5000), clips(2), 16000, torch.Generator())
