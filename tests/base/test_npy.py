"""Files of numpy are opened, or refused with one kind of error, whatever became of their header."""

from __future__ import annotations

import numpy as np
import pytest

from audio_ssl.base.npy import open_npy


def test_an_array_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    found = open_npy(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"{'descr'", b"('''escr"), (b"(2, 3)", b"(2, 9)"), (b"'<f8'", b"'|O8'"), (b"(2, 3)", b"[[[[[["), (b"NUMPY", b"")],
)
def test_a_damaged_header_is_one_kind_of_error(old, new, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    whole = (tmp_path / "a.npy").read_bytes()
    assert old in whole
    (tmp_path / "a.npy").write_bytes(whole.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"."):
        open_npy(tmp_path / "a.npy")
