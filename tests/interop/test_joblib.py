"""Code books that joblib and pickle wrote are read bit for bit, and nothing that they name is run."""

import os
import pickle
import zlib

import joblib
import numpy as np
import pytest
from joblib.numpy_pickle import NumpyArrayWrapper
from sklearn.cluster import KMeans, MiniBatchKMeans

from audio_ssl.base.errors import UserError
from audio_ssl.interop import joblib_reader
from audio_ssl.interop.joblib_reader import cluster_centers, read_joblib
from audio_ssl.interop.pickle_reader import InertRecord

FRAMES = np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32)
COMPRESSORS = (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3))


@pytest.fixture(scope="module")
def fitted():
    return MiniBatchKMeans(10, n_init=1, random_state=np.random.RandomState(0)).fit(FRAMES)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("compress", COMPRESSORS, ids=str)
def test_centroids_are_those_of_the_model(tmp_path, fitted, protocol, compress):
    joblib.dump(fitted, tmp_path / "km.bin", compress=compress, protocol=protocol)
    assert np.array_equal(cluster_centers(tmp_path / "km.bin"), fitted.cluster_centers_)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_read_too(tmp_path, fitted, protocol):
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(fitted, protocol))
    assert np.array_equal(cluster_centers(tmp_path / "km.pkl"), fitted.cluster_centers_)


def test_all_of_the_model_is_read_in_its_order(tmp_path, fitted):
    """What stands behind an array shows whether its bytes were all read."""
    joblib.dump({"first": FRAMES, "model": fitted, "last": ["the end"]}, tmp_path / "km.bin")
    found = read_joblib(tmp_path / "km.bin")
    assert np.array_equal(found["first"].items[0], FRAMES)
    assert found["model"].kind.endswith("MiniBatchKMeans")
    assert found["last"] == ["the end"]


def test_an_array_of_any_order_and_number_type(tmp_path, fitted):
    centers = fitted.cluster_centers_
    for other in (np.asfortranarray(centers), centers.astype(">f4"), centers.astype("f8"), centers[::2].T.copy().T):
        joblib.dump(other, tmp_path / "a.joblib")
        assert np.array_equal(cluster_centers(tmp_path / "a.joblib"), other.astype(np.float32))
        joblib.dump(KMeans(2, n_init=1).fit(FRAMES.astype("f8")), tmp_path / "b.joblib")
        assert cluster_centers(tmp_path / "b.joblib").dtype == np.float32
    joblib.dump({"cluster_centers_": centers, "object": np.array([{"a": 1}, None])}, tmp_path / "c.joblib")
    assert np.array_equal(cluster_centers(tmp_path / "c.joblib"), centers)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_of_joblib_before_alignments(tmp_path, order):
    """Up to 1.1 the bytes of an array followed its description at once, as of fairseq's published files."""
    values = np.array(FRAMES[:5, :3], order=order)
    wrapper = NumpyArrayWrapper(np.ndarray, values.shape, order, values.dtype)
    del wrapper.numpy_array_alignment_bytes
    content = pickle.dumps(wrapper, 2)[:-1] + values.tobytes("A") + b"."
    (tmp_path / "old.bin").write_bytes(content)
    assert np.array_equal(joblib.load(tmp_path / "old.bin"), values)
    assert np.array_equal(cluster_centers(tmp_path / "old.bin"), values)


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def test_nothing_runs(tmp_path, monkeypatch, fitted):
    monkeypatch.chdir(tmp_path)
    evil = [Evil(os.system, ("touch harm",)), Evil(eval, ("open('harm', 'w')",)), Evil(os.mkdir, ("harm",))]
    joblib.dump({"evil": evil, "cluster_centers_": fitted.cluster_centers_, "also": np.array(evil, object)}, "a.bin")
    assert np.array_equal(cluster_centers(tmp_path / "a.bin"), fitted.cluster_centers_)
    found = read_joblib(tmp_path / "a.bin")
    assert all(isinstance(one, InertRecord) for one in found["evil"])
    assert found["evil"][0].kind.endswith(".system")
    (tmp_path / "b.bin").write_bytes(pickle.dumps(Evil(os.system, ("touch harm",))))
    with pytest.raises(UserError, match="holds no fitted k-means: no `cluster_centers_` in 'system'"):
        cluster_centers(tmp_path / "b.bin")
    assert not (tmp_path / "harm").exists()


def test_names_by_number_and_references_are_refused(tmp_path):
    for program in (b"\x80\x02\x82\x01.", b"\x80\x02K\x01Q.", b"\x80\x05\x97."):
        (tmp_path / "a.bin").write_bytes(program)
        with pytest.raises(UserError, match="cannot be read as joblib or pickle wrote it"):
            read_joblib(tmp_path / "a.bin")


def test_other_files_are_refused_in_a_sentence(tmp_path, fitted, monkeypatch):
    def refused(content, match):
        (tmp_path / "km.bin").write_bytes(content)
        with pytest.raises(UserError, match=match) as error:
            cluster_centers(tmp_path / "km.bin")
        assert "km.bin" in str(error.value)

    for junk in (b"", b"junk", b"\x80", b"\x80\x04", b"BZ", b"\x1f\x8b", b"x", b"PK\x03\x04", bytes(range(256))):
        refused(junk, "cannot be read as joblib or pickle wrote it")
    refused(b"ZF0x16 ", r"before 0\.10 wrote this file.*numpy\.save")
    refused(b"\x04\x22\x4d\x18rest", "compressed with lz4")
    old = b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}X\x08\x00\x00\x00filenameX\x01\x00\x00\x00asb."
    refused(old, r"arrays in other files.*numpy\.save")
    refused(pickle.dumps({"a": 1}), "no `cluster_centers_` in 'dict'")
    refused(pickle.dumps(KMeans(3)), "no `cluster_centers_` in 'KMeans'")
    refused(pickle.dumps({"cluster_centers_": [[1.0]]}), "`cluster_centers_` is not an array")
    refused(pickle.dumps({"cluster_centers_": np.array(["a", "b"])}), "not made of numbers")
    refused(pickle.dumps({"cluster_centers_": np.zeros(3)}), r"\[cluster, dim\], but are \[3\]")
    refused(pickle.dumps({"cluster_centers_": np.full((2, 2), np.nan)}), "NaN or infinity among them")
    joblib.dump({"cluster_centers_": np.array([[None]])}, tmp_path / "km.bin")
    refused((tmp_path / "km.bin").read_bytes(), "array of Python objects")
    monkeypatch.setattr(joblib_reader, "_MOST_BYTES", 1 << 20)
    refused(zlib.compress(bytes(1 << 21)), "more than 0 GiB")


def test_every_cut_and_many_changed_bytes_are_an_error_or_a_code_book(tmp_path, fitted):
    joblib.dump(fitted, tmp_path / "km.bin")
    whole = (tmp_path / "km.bin").read_bytes()
    rng = np.random.default_rng(1)
    damaged = [whole[:end] for end in rng.integers(0, len(whole), 60)]
    for place, value in zip(rng.integers(0, len(whole), 240), rng.integers(0, 256, 240), strict=True):
        damaged.append(whole[:place] + bytes([value]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        (tmp_path / "km.bin").write_bytes(content)
        try:
            assert cluster_centers(tmp_path / "km.bin").ndim == 2
        except UserError:
            refused += 1
    assert refused >= 60
