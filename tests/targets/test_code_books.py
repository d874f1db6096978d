"""Code books: read from every place, with the codes that scikit-learn predicts."""

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans

from audio_ssl.base.errors import UserError
from audio_ssl.targets import clustering
from audio_ssl.targets.clustering import nearest_exactly
from audio_ssl.targets.code_books import CODE_BOOK_FILE, STATE_FILE, of_centroids, read_code_book


def frames(count=8000, dim=64, seed=0, far=20.0):
    """Frames of a few clusters; where these are far from the origin, float32 has few digits to spare."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(30, dim, generator=generator) * 3 + far
    return centers[torch.randint(30, (count,), generator=generator)] + torch.randn(count, dim, generator=generator)


@pytest.mark.parametrize("clusters", [2, 200])
@pytest.mark.parametrize("far", [0.0, 20.0])
def test_codes_are_those_that_scikit_learn_predicts(tmp_path, clusters, far):
    train, test = frames(3000, seed=1, far=far).numpy(), frames(far=far).numpy()
    theirs = MiniBatchKMeans(clusters, n_init=1, max_iter=5, random_state=0).fit(train)
    joblib.dump(theirs, tmp_path / "km.bin")
    codes = read_code_book(tmp_path / "km.bin").codes(torch.from_numpy(test)).numpy()
    assert len(np.unique(codes)) > clusters // 4
    in_float32 = theirs.predict(test)
    theirs.cluster_centers_ = theirs.cluster_centers_.astype(np.float64)
    assert np.array_equal(codes, theirs.predict(test.astype(np.float64)))
    # In float32 they may differ where two centroids are as near as float32 can tell, and nowhere else.
    apart = torch.cdist(torch.from_numpy(test).double(), torch.from_numpy(theirs.cluster_centers_)).numpy()
    other = np.flatnonzero(codes != in_float32)
    assert len(other) < 0.01 * len(codes)
    assert np.allclose(apart[other, codes[other]], apart[other, in_float32[other]], rtol=1e-5, atol=0)


def test_near_ties_are_decided_as_in_float64(monkeypatch):
    codes = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)) + 100
    codes[7], codes[30] = codes[3], codes[3]
    # Between two codes, nearer to either by less than float32 scores can tell; and on one that is there thrice.
    first, second = codes[torch.arange(0, 20)], codes[torch.arange(20, 40)]
    some = torch.cat([(first + second) / 2, codes[[3, 7, 30]]])
    exact = torch.cdist(some.double(), codes.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    assert nearest_exactly(some, codes).tolist() == exact.tolist()
    assert nearest_exactly(some, codes)[-3:].tolist() == [3, 3, 3]
    loose, _ = clustering.nearest(some, codes, clustering.half_squares(codes))
    assert loose.tolist() != exact.tolist()
    # Whatever the tiles.
    monkeypatch.setattr(clustering, "_TILE_SCORES", 80)
    assert nearest_exactly(some, codes).tolist() == exact.tolist()
    assert nearest_exactly(some[:0], codes).tolist() == []


def test_every_place_gives_the_same_code_book(tmp_path):
    theirs = MiniBatchKMeans(8, n_init=1, random_state=0).fit(frames(500).numpy())
    centroids = torch.from_numpy(theirs.cluster_centers_)
    book = of_centroids(centroids)
    (tmp_path / "units").mkdir()
    (tmp_path / "teacher").mkdir()
    book.save(tmp_path / "units" / CODE_BOOK_FILE)
    save_file(book.tensors(), tmp_path / "teacher" / STATE_FILE)
    save_file({"embed": centroids}, tmp_path / "alone.safetensors")
    np.save(tmp_path / "a.npy", centroids.numpy().astype("f8"))
    joblib.dump(theirs, tmp_path / "km")
    places = ("units", "teacher", "units/codebook.safetensors", "alone.safetensors", "a.npy", "km")
    found = {read_code_book(tmp_path / place).fingerprint for place in places}
    assert found == {book.fingerprint}
    assert of_centroids(centroids + 1).fingerprint not in found


def test_where_a_code_book_comes_from_and_how_it_scales_are_kept(tmp_path):
    from dataclasses import replace

    book = replace(of_centroids(torch.eye(3)), mean=torch.ones(3), scale=torch.full((3,), 0.5), model="abc", layer=6)
    book.save(tmp_path / "a.safetensors")
    again = read_code_book(tmp_path / "a.safetensors")
    assert (again.model, again.layer, again.size, again.dim) == ("abc", 6, 3, 3)
    # (2, 1, 1) less 1, by a half, is the nearest to the first.
    assert again.codes(torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 9.0]])).tolist() == [0, 2]
    assert again.to(torch.device("cpu")).fingerprint == book.fingerprint


def test_what_is_no_code_book_is_refused(tmp_path):
    def refused(name, match):
        with pytest.raises(UserError, match=match):
            read_code_book(tmp_path / name)

    refused("nothing", "no such code book")
    refused("", "the folder has no code book")
    save_file({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, tmp_path / "two.safetensors")
    refused("two.safetensors", "no `centroids`, but a, b")
    save_file({"centroids": torch.ones(2, 2), "mean": torch.ones(3)}, tmp_path / "mean.safetensors")
    refused("mean.safetensors", "`mean` and `scale` must be 2 finite numbers")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    refused("cut.safetensors", "code book cannot be read")
    np.save(tmp_path / "flat.npy", np.ones(4))
    refused("flat.npy", r"\[code, dim\], but are float32 \[4\]")
    np.save(tmp_path / "inf.npy", np.full((2, 2), np.inf))
    refused("inf.npy", "NaN or infinity")
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    refused("objects.npy", "centroids cannot be read")
