import gc
import weakref
from dataclasses import replace

import joblib
import librosa
import pytest
import torch
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans

from audio_ssl.base.errors import UserError
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.targets import clustering
from audio_ssl.targets.acoustic import CenteredLogMel, Chroma, KaldiMfcc39, chroma_filters
from audio_ssl.targets.clustering import half_squares, nearest
from audio_ssl.targets.spec import check_targets, needs_fit
from audio_ssl.targets.teachers import cqt, kmeans

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
    frames = kmeans.Mfcc39(16000, 320, 400)(waveform)
    assert torch.equal(labels[:, 0], torch.cdist(frames, state["centroids"]).argmin(-1))
    check_targets(labels, teacher.spec, len(waveform))
    assert len(labels.unique()) > 1


def test_features_are_clustered_as_they_are_unless_told_otherwise(tmp_path):
    frames = torch.cat([kmeans.Mfcc39(16000, 320, 400)(clip) for clip in clips()])
    raw, _ = fitted(tmp_path, kmeans.Config(clusters=7))
    assert not raw["mean"].any()
    assert (raw["scale"] == 1).all()
    scaled, path = fitted(tmp_path, kmeans.Config(clusters=7, standardize=True))
    torch.testing.assert_close(scaled["mean"], frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled["scale"], 1 / frames.std(0, correction=0), rtol=1e-3, atol=1e-5)
    waveform = clips()[3]
    rows = (kmeans.Mfcc39(16000, 320, 400)(waveform) - scaled["mean"]) * scaled["scale"]
    nearest_code = torch.cdist(rows, scaled["centroids"]).argmin(-1)
    # A fitted state brings its own scale, whatever the recipe says today; so its stored targets still match.
    given = [
        kmeans.build(kmeans.Config(path=str(path), clusters=7, standardize=said), 16000, CPU) for said in (False, True)
    ]
    for teacher in given:
        assert torch.equal(teacher(waveform)[:, 0], nearest_code)
    assert given[0].fingerprint == given[1].fingerprint
    chroma, _ = fitted(tmp_path, kmeans.Config(features="chroma", clusters=4, chroma_bins=24, standardize=True))
    assert not chroma["mean"].any()


def test_a_state_of_an_earlier_release_has_the_fingerprint_it_had(tmp_path):
    state = {"centroids": torch.arange(78.0).reshape(2, 39), "mean": torch.arange(39.0), "scale": torch.ones(39) * 0.5}
    save_file(state, tmp_path / kmeans.STATE_FILE)
    for features in (None, "mfcc"):
        config = kmeans.Config(path=str(tmp_path), clusters=2, features=features)
        assert kmeans.build(config, 16000, CPU).fingerprint == "c4e72ed5ac6ae535"


def test_kaldi_mfccs_are_fairseqs_every_second_of_10_ms():
    torchaudio = pytest.importorskip("torchaudio")
    generator = torch.Generator().manual_seed(0)
    for rate, samples in ((16000, 16000), (16000, 16113), (24000, 9000)):
        waveform = 0.1 * torch.randn(samples, generator=generator)
        waveform[3000:4500] = 0.0
        coefficients = torchaudio.compliance.kaldi.mfcc(waveform[None], sample_frequency=rate, use_energy=False).T
        first = torchaudio.functional.compute_deltas(coefficients)
        both = torch.cat([coefficients, first, torchaudio.functional.compute_deltas(first)]).T
        ours = KaldiMfcc39(rate, rate // 50, rate // 40)
        torch.testing.assert_close(ours(waveform), both[::2], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(KaldiMfcc39(rate, rate // 100, rate // 40)(waveform), both, rtol=1e-5, atol=1e-4)
        assert len(ours(waveform)) == ours.grid.num_frames(samples)
    assert len(ours(waveform[:500])) == 0


def test_kaldi_mfccs_take_a_long_clip_in_parts(monkeypatch):
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    whole = KaldiMfcc39(16000, 320, 400)(waveform)
    monkeypatch.setattr("audio_ssl.targets.acoustic._FRAMES_AT_ONCE", 7)
    torch.testing.assert_close(KaldiMfcc39(16000, 320, 400)(waveform), whole, rtol=1e-5, atol=1e-4)


def mixture(frames=6000, dim=20, modes=60, seed=0):
    """Clusters of unequal size and width in a subspace, with noise in all dimensions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(8, dim, generator=generator)
    shares = 1 / torch.arange(1, modes + 1).float()
    mode = torch.multinomial(shares, frames, replacement=True, generator=generator)
    centre, width = torch.randn(modes, 8, generator=generator), 0.2 + torch.rand(modes, 8, generator=generator)
    inside = centre[mode] + width[mode] * torch.randn(frames, 8, generator=generator)
    return inside @ basis + 0.3 * torch.randn(frames, dim, generator=generator)


def inertia(frames, centroids):
    return torch.cdist(frames, centroids).min(-1).values.double().square().sum()


@pytest.mark.parametrize("clusters", [10, 60])
def test_inertia_is_as_good_as_scikit_learn_on_clusters(clusters):
    frames = mixture()
    ours = clustering.cluster(frames, clusters, torch.Generator().manual_seed(0), batch_frames=1000, tries=3)
    theirs = MiniBatchKMeans(
        clusters, batch_size=1000, n_init=5, max_iter=100, tol=0.0, max_no_improvement=100, random_state=0
    )
    assert inertia(frames, ours) <= 1.01 * theirs.fit(frames.numpy()).inertia_


def test_inertia_is_as_good_as_scikit_learn_on_mfcc_of_all_frames(tmp_path):
    state, _ = fitted(tmp_path, kmeans.Config(clusters=8))
    frames = torch.cat([kmeans.Mfcc39(16000, 320, 400)(c) for c in clips()])
    theirs = MiniBatchKMeans(8, n_init=5, random_state=0).fit(frames.numpy()).inertia_
    assert inertia(frames, state["centroids"]) <= 1.01 * theirs


def test_a_sample_of_the_stream_does_nearly_as_well_as_all_of_it(tmp_path):
    frames = mixture()
    reservoir = clustering.Reservoir(2000, torch.Generator().manual_seed(0))
    for part in frames.split(77):
        reservoir.add(part)
    sampled, whole = (
        clustering.cluster(rows, 20, torch.Generator().manual_seed(0), 1000, 3) for rows in (reservoir.rows(), frames)
    )
    assert inertia(frames, sampled) <= 1.05 * inertia(frames, whole)


def test_the_sample_is_uniform_over_the_whole_stream_and_the_moments_are_those_of_all_of_it():
    seen = torch.zeros(1000)
    for seed in range(200):
        reservoir = clustering.Reservoir(100, torch.Generator().manual_seed(seed))
        for part in torch.arange(1000.0)[:, None].split(33):
            reservoir.add(part)
        rows = reservoir.rows()[:, 0].long()
        assert len(rows.unique()) == 100
        seen[rows] += 1
    # Each of ten stretches is drawn 2000 times, give or take four standard deviations.
    assert ((seen.view(10, 100).sum(1) - 2000).abs() < 4 * (2000 * 0.9) ** 0.5).all()
    torch.testing.assert_close(reservoir.mean, torch.tensor([499.5]))
    torch.testing.assert_close(reservoir.variance, torch.arange(1000.0).var(correction=0)[None])


def test_memory_does_not_grow_with_the_corpus(monkeypatch):
    held, alive = [], []
    add = clustering.Reservoir.add

    def watched(self, rows):
        add(self, rows)
        held.append(sum(rows.untyped_storage().nbytes() for rows in self._rows))

    def stream(count):
        for number in range(count):
            clip = torch.randn(4000, generator=torch.Generator().manual_seed(number))
            alive.append(weakref.ref(clip))
            yield clip
            gc.collect(0)
            assert sum(reference() is not None for reference in alive) <= 2

    monkeypatch.setattr(clustering.Reservoir, "add", watched)
    config = kmeans.Config(clusters=4, fit_frames=40)
    kmeans.fit(config, stream(150), 16000, torch.Generator().manual_seed(0))
    assert len(held) == 150
    assert max(held) <= (1.25 * 40 + 12) * 39 * 4


def test_a_centroid_without_frames_is_put_where_frames_are_far():
    frames = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(i)) + 100 * i for i in range(3)])
    lost = torch.tensor([[0.0, 0.0], [200.0, 200.0], [9000.0, 9000.0]])
    centroids = clustering._lloyd(frames, lost, torch.Generator().manual_seed(0))
    assert sorted(centroids.mean(1).div(100).round().tolist()) == [0, 1, 2]


def test_frames_all_alike_end_in_equal_centroids():
    centroids = clustering.cluster(torch.ones(50, 3), 4, torch.Generator().manual_seed(0), 10, 2)
    assert torch.equal(centroids, torch.ones(4, 3))


def test_nearest_is_that_of_all_distances_whatever_the_tiles(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    frames, codes = torch.randn(500, 9, generator=generator), torch.randn(37, 9, generator=generator)
    monkeypatch.setattr("audio_ssl.targets.clustering._TILE_SCORES", 37 * 64)
    labels, score = nearest(frames, codes, half_squares(codes))
    distances = torch.cdist(frames, codes).square()
    assert torch.equal(labels, distances.argmin(1))
    torch.testing.assert_close(frames.square().sum(1) - 2 * score, distances.amin(1), rtol=1e-4, atol=1e-4)
    assert [part.shape for part in nearest(frames[:0], codes)] == [(0,), (0,)]


@pytest.mark.parametrize(("rate", "window", "bins"), [(16000, 1024, 24), (24000, 600, 12)])
def test_chroma_is_that_of_librosa(rate, window, bins):
    filters = librosa.filters.chroma(sr=rate, n_fft=window, n_chroma=bins)
    torch.testing.assert_close(chroma_filters(rate, window, bins).T, torch.from_numpy(filters), rtol=1e-5, atol=1e-7)
    waveform = clips()[0]
    ours = Chroma(rate, 320, window, bins)(waveform)
    theirs = librosa.feature.chroma_stft(
        y=waveform.numpy(),
        sr=rate,
        n_fft=window,
        hop_length=320,
        n_chroma=bins,
        tuning=0.0,
        norm=2,
        pad_mode="constant",
    )
    torch.testing.assert_close(ours, torch.from_numpy(theirs).T, rtol=1e-4, atol=1e-5)


def test_chroma_knows_the_note_but_not_the_octave():
    chroma = Chroma(16000, 320, 4096, 264)
    time = torch.arange(16000) / 16000
    notes = [chroma(0.1 * torch.sin(2 * torch.pi * hertz * time))[25] for hertz in (440.0, 880.0, 466.16)]
    peaks = [int(note.argmax()) for note in notes]
    # A is 198 bins above C; a spectral line is 3.9 Hz wide, a bin 1.2 Hz at 440 Hz.
    assert all(abs(peak - expected) <= 1 for peak, expected in zip(peaks, (198, 198, 220), strict=True))
    assert not chroma(torch.zeros(4000)).any()


def test_logmel_is_that_of_librosa():
    waveform = clips()[0]
    theirs = librosa.feature.melspectrogram(
        y=waveform.numpy(), sr=16000, n_fft=2048, hop_length=320, n_mels=229, htk=True, norm=None, pad_mode="constant"
    )
    ours = CenteredLogMel(16000, 320, 2048, 229)(waveform)
    torch.testing.assert_close(ours, torch.log(torch.from_numpy(theirs) + 1e-6).T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rate", [16000, 24000])
@pytest.mark.parametrize("features", ["mfcc", "logmel", "chroma", "cqt", "logmel+chroma", "logmel+cqt"])
def test_every_feature_counts_frames_as_the_frontend(tmp_path, rate, features):
    config = kmeans.Config(features=features, clusters=4, chroma_bins=24)
    state = kmeans.fit(config, clips(3), rate, torch.Generator().manual_seed(0))
    save_file(state, tmp_path / kmeans.STATE_FILE)
    teacher = kmeans.build(replace(config, path=str(tmp_path)), rate, CPU)
    labels = [teacher(clip) for clip in clips(3)]
    check_targets(labels[0], teacher.spec, 8000)
    assert len(torch.cat(labels).unique()) > 1
    frontend = conv.build(conv.Config(), rate).grid
    frontend.require_same_rate(teacher.spec.grid, "the frontend", "the teacher")
    assert kmeans.target_spec(config, rate, CPU) == teacher.spec
    other = kmeans.Config(path=str(tmp_path), features="logmel", n_mels=20)
    with pytest.raises(UserError, match=r"centroids have \d+ dimensions, but logmel frames have 20"):
        kmeans.build(other, rate, CPU)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_two_features_as_one_frame_have_their_shares_of_the_distances(tmp_path, standardize, share):
    config = kmeans.Config(
        features="logmel+chroma", clusters=6, chroma_bins=24, standardize=standardize, second_share=share
    )
    state, path = fitted(tmp_path, config)
    frames = torch.cat([kmeans.ClusteredFeatures(config, 16000, CPU, None)(clip) for clip in clips()])
    logmel = torch.cat([CenteredLogMel(16000, 320, 2048, 229)(clip) for clip in clips()])
    chroma = torch.cat([Chroma(16000, 320, 4096, 24)(clip) for clip in clips()])
    assert torch.equal(frames, torch.cat([logmel, chroma], 1))
    scaled = (frames - state["mean"]) * state["scale"]
    variance = scaled.var(0, correction=0)
    torch.testing.assert_close(variance[229:].sum(), torch.tensor(share), rtol=1e-3, atol=0)
    torch.testing.assert_close(variance.sum(), torch.tensor(1.0), rtol=1e-3, atol=0)
    # Bands are alike where they are standardised; chroma keeps its zero, whatever is asked for.
    assert (variance[:229].std() < 1e-5) == standardize
    assert bool(state["mean"][:229].any()) == standardize
    assert not state["mean"][229:].any()
    teacher = kmeans.build(replace(config, path=str(path)), 16000, CPU)
    labels = teacher(clips()[3])[:, 0]
    rows = (kmeans.ClusteredFeatures(config, 16000, CPU, None)(clips()[3]) - state["mean"]) * state["scale"]
    assert torch.equal(labels, torch.cdist(rows, state["centroids"]).argmin(-1))


def test_constant_q_frames_are_those_of_the_teacher():
    ours = kmeans.ClusteredFeatures(kmeans.Config(features="cqt"), 16000, CPU, None)(clips()[0])
    theirs = cqt.build(cqt.Config(n_bins=84, bins_per_octave=12, log=True), 16000, CPU)(clips()[0])
    assert torch.equal(ours, theirs)


def test_features_left_to_be_understood_are_the_same_teacher(tmp_path):
    _, path = fitted(tmp_path, kmeans.Config(clusters=5))
    prints = {
        kmeans.build(kmeans.Config(path=str(path), clusters=5, features=f), 16000, CPU).fingerprint
        for f in (None, "mfcc")
    }
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "hidden"}, "`features` hidden needs a `model`"),
        ({"features": "mfcc", "model": "run"}, "`features` is mfcc, but there is a `model`"),
        ({"features": "logmel", "window_seconds": 0.01}, "of `n_mels` 229 bands are empty with a window of 0.01 s"),
        ({"features": "chroma", "chroma_bins": 100}, "`chroma_bins` must be a multiple of 12, but is 100"),
        ({"features": "kaldi_mfcc", "hop_samples": 321}, "`hop_samples` must be a multiple of 10 ms for kaldi_mfcc"),
        ({"window_seconds": 0.0}, "`window_seconds` must last at least a sample, but is 0.0"),
        ({"features": "cqt", "n_bins": 0}, "`n_bins` must be at least 1, but is 0"),
        ({"features": "cqt", "n_bins": 120}, "the top bin of `n_bins` 120 lies at"),
        ({"features": "logmel+chroma", "second_share": 1.0}, "`second_share` must be above 0 and below 1, but is 1"),
        ({"fit_frames": 9}, "`fit_frames` must be at least `clusters` 100, but is 9"),
    ],
)
def test_what_cannot_be_clustered_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        kmeans.fit(kmeans.Config(**options), clips(1), 16000, torch.Generator())


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
    with torch.no_grad():
        state = model.eval()(clips()[0][None]).hidden[1][0]
    assert torch.equal(teacher(clips()[0])[:, 0], torch.cdist(state, teacher._centroids).argmin(-1))
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


@torch.no_grad()
def test_hidden_layer_before_its_last_residual_sum(tmp_path):
    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    model = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    model.eval().save_pretrained(tmp_path / "run")
    waveform = clips()[0]
    made = {}
    for point in ("output", "feed_forward"):
        config = kmeans.Config(model=str(tmp_path / "run"), layer=1, point=point)
        features = kmeans.ClusteredFeatures(config, 16000, CPU, SSLModel.from_pretrained)
        made[point] = features(waveform)
        assert torch.equal(made[point], model(waveform[None], point=point).hidden[1][0])
    assert (made["output"] - made["feed_forward"]).norm() > 0.5 * made["output"].norm()
    # The same centroids on another point are another teacher.
    state = {"centroids": torch.zeros(5, 16), "mean": torch.zeros(16), "scale": torch.ones(16)}
    prints = [
        kmeans.KMeansTeacher(replace(config, point=point), features, state, CPU).fingerprint
        for point in ("output", "feed_forward")
    ]
    assert len(set(prints)) == 2
    with pytest.raises(UserError, match="`point` must be output or feed_forward, but is `residual`"):
        kmeans.ClusteredFeatures(replace(config, point="residual"), 16000, CPU, SSLModel.from_pretrained)(waveform)


def test_what_is_missing_is_explained(tmp_path):
    assert needs_fit(kmeans.Config())
    assert not needs_fit(kmeans.Config(path="x"))
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        kmeans.build(kmeans.Config(), 16000, CPU)
    with pytest.raises(UserError, match="not the fitted state of this teacher"):
        kmeans.build(kmeans.Config(path=str(tmp_path)), 16000, CPU)
    (tmp_path / "hubert_base_ls960_L9_km500.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"km500\.bin: the code book cannot be read as joblib or pickle wrote it"):
        kmeans.build(kmeans.Config(path=str(tmp_path / "hubert_base_ls960_L9_km500.bin")), 16000, CPU)


def test_a_code_book_of_scikit_learn_labels_as_it_does(tmp_path):
    """As fairseq and textlesslib keep theirs: in a file of joblib, with centroids of features as they are."""
    waveform = clips()[0]
    frames = kmeans.KaldiMfcc39(16000, 320, 400)(waveform)
    theirs = MiniBatchKMeans(5, n_init=2, random_state=0).fit(frames.numpy())
    joblib.dump(theirs, tmp_path / "mfcc_km5.bin")
    config = kmeans.Config(path=str(tmp_path / "mfcc_km5.bin"), features="kaldi_mfcc", clusters=5)
    labels = kmeans.build(config, 16000, CPU)(waveform)[:, 0]
    assert labels.tolist() == theirs.predict(frames.numpy()).tolist()
    assert len(labels.unique()) > 1


def test_fitting_needs_as_many_frames_as_clusters():
    with pytest.raises(UserError, match="at least as many frames as `clusters` 5000"):
        kmeans.fit(kmeans.Config(clusters=5000), clips(2), 16000, torch.Generator())
