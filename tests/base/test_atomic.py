import pytest

from audio_ssl.base.files import atomic_write, write_json


def test_failure_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(target) as partial:
        partial.write_text("ne")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_ctrl_c_leaves_nothing_under_the_final_name(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "b.bin") as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_partial_file_keeps_the_suffix_and_makes_folders(tmp_path):
    with atomic_write(tmp_path / "new" / "x.npy") as partial:
        assert partial.suffix == ".npy"
        partial.write_bytes(b"1")
    assert (tmp_path / "new" / "x.npy").read_bytes() == b"1"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
