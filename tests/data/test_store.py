import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.data import store
from audio_ssl.data.store import ArrayStore, StoreWriter


def write(folder, arrays, **options):
    with StoreWriter(folder, {"content": "test"}, **options) as writer:
        for clip_id, value in arrays.items():
            writer.add(clip_id, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_arrays_come_back_as_they_were(tmp_path, dtype):
    arrays = {f"clip {i}/é": {"a": torch.arange(12).reshape(6, 2).to(dtype) + i, "b": torch.ones(3)} for i in range(5)}
    write(tmp_path, arrays, shard_bytes=100)
    store = ArrayStore(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert store.ids == list(arrays)
    for clip_id, expected in arrays.items():
        got = store[clip_id]
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[k], expected[k]) and got[k].dtype == expected[k].dtype for k in expected)
        assert torch.equal(store.get(clip_id, "a", 2, 4), expected["a"][2:4])


# A manifest refuses NUL.
@given(
    ids=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), unique=True, min_size=1, max_size=5
    )
)
def test_any_text_is_an_id(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("store")
    write(folder, {i: {"x": torch.tensor([n])} for n, i in enumerate(ids)})
    store = ArrayStore(folder)
    assert [int(store[i]["x"]) for i in ids] == list(range(len(ids)))


def test_a_name_that_is_not_utf8_is_an_id(tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    write(tmp_path, {name: {"x": torch.ones(1)}})
    assert name in ArrayStore(tmp_path)


def test_an_interrupted_writer_keeps_whole_arrays_and_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, {"content": "test"}) as writer:
        writer.add("a", {"x": torch.ones(2)})
        raise KeyboardInterrupt
    assert ArrayStore(tmp_path).ids == ["a"]
    with StoreWriter(tmp_path, {"content": "test"}, resume=True) as writer:
        assert writer.done == {"a"}
        writer.add("b", {"x": torch.zeros(2)})
    assert ArrayStore(tmp_path).ids == ["a", "b"]


def test_a_killed_writer_leaves_only_whole_shards(tmp_path):
    writer = StoreWriter(tmp_path, {"content": "test"}, shard_bytes=8)
    writer.add("a", {"x": torch.ones(4)})
    writer._shard_bytes = 1 << 20
    writer.add("lost", {"x": torch.ones(4)})
    # Nothing is called on the way out, as with kill -9; a temporary file may be left behind.
    (tmp_path / ".partial-x.safetensors").write_bytes(b"half")
    assert ArrayStore(tmp_path).ids == ["a"]
    assert StoreWriter(tmp_path, {"content": "test"}, resume=True).done == {"a"}


def fill(folder, ids, stop=None, meta=None, **options):
    """Add what is missing of some clips; `stop` is where the writer is killed: nothing is called on the way out."""
    writer = StoreWriter(folder, meta or {"content": "test"}, shard_bytes=200, resume=True, **options)
    added = []
    for clip_id in ids:
        if clip_id == stop:
            return added
        if clip_id not in writer.done:
            writer.add(clip_id, {"x": torch.arange(8) + ord(clip_id)})
            added.append(clip_id)
    writer.__exit__(None, None, None)
    return added


@pytest.fixture
def part_by_part(monkeypatch):
    monkeypatch.setattr(store, "SEAL_SECONDS", -1.0)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_is_the_same_however_often_its_writer_was_killed(tmp_path, part_by_part):
    ids = "abcdefgh"
    fill(tmp_path / "whole", ids)
    added = []
    for stop in ("c", "d", "g", "h", None):
        added += fill(tmp_path / "cut", ids, stop)
        read = ArrayStore(tmp_path / "cut")
        assert read.ids == added
        assert all(read[name]["x"][0] == ord(name) for name in added)
    assert "".join(added) == ids
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert len(list((tmp_path / "cut").glob("shard-*"))) == 2


def test_a_writer_killed_before_it_recorded_its_shard_records_it_when_resumed(tmp_path, part_by_part, monkeypatch):
    fill(tmp_path / "whole", "abcdef")

    def killed(folder, names):
        if not folder.name.startswith("."):
            raise SystemExit

    monkeypatch.setattr("audio_ssl.data.store.write_seals", killed)
    with pytest.raises(SystemExit):
        fill(tmp_path / "cut", "abcdef")
    monkeypatch.undo()
    assert fill(tmp_path / "cut", "abcdef") == ["e", "f"]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_part_with_other_bytes_is_found_and_its_clips_come_again(tmp_path, part_by_part, caplog):
    fill(tmp_path, "abc", "c")
    part = tmp_path / ".unfinished" / "shard-00001.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    assert fill(tmp_path, "abc") == ["b", "c"]
    assert "shard-00001.safetensors has other bytes than were written" in caplog.text
    assert [int(ArrayStore(tmp_path)[name]["x"][0]) for name in "abc"] == [97, 98, 99]


def test_parts_are_written_after_a_while_only(tmp_path):
    fill(tmp_path, "abc", "c")
    assert not (tmp_path / ".unfinished").exists()


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError, match="not an array store"):
        ArrayStore(tmp_path)
    write(tmp_path, {"a": {"x": torch.ones(1)}})
    with pytest.raises(UserError, match="holds a store already"):
        StoreWriter(tmp_path, {"content": "test"})
    with pytest.raises(UserError, match="`content` is 'test' there, 'other' here"):
        StoreWriter(tmp_path, {"content": "other"}, resume=True)
    with pytest.raises(ValueError, match="in the store already"):
        StoreWriter(tmp_path, {"content": "test"}, resume=True).add("a", {})
    store = ArrayStore(tmp_path)
    with pytest.raises(KeyError, match="has no clip `b`"):
        store["b"]
    with pytest.raises(KeyError, match="has no array `y`, but x"):
        store.get("a", "y")
    (tmp_path / "shard-00000.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"shard-00000\.safetensors has 3 bytes where"):
        ArrayStore(tmp_path)
