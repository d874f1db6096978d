"""Pickles that would run something when they are read in the usual way run nothing here."""

import collections
import enum
import functools
import io
import operator
import os
import pickle
import struct
import subprocess
import warnings
import zipfile
from argparse import Namespace

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.interop import pickle_reader
from audio_ssl.interop.pickle_reader import InertRecord, plain
from audio_ssl.interop.read import read_model
from audio_ssl.interop.weights import read_pickle

HARM = []


def harm(*args):
    """What no file may call."""
    HARM.append(args)


class Calls:
    """Pickled as the call of a function, with a state, items and pairs if need be."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


class SetsState:
    def __setstate__(self, state):
        harm(state)

    def __getstate__(self):
        return {"a": 1}


class Sequence(list):
    def append(self, item):
        harm(item)

    def extend(self, items):
        harm(items)


@pytest.fixture(autouse=True)
def no_harm(monkeypatch, tmp_path):
    HARM.clear()
    monkeypatch.chdir(tmp_path)
    yield
    assert HARM == []
    assert not (tmp_path / "harm").exists()


def dumped(value, protocol=2):
    return pickle.dumps(value, protocol)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "evil",
    [
        Calls(os.system, ("touch harm",)),
        Calls(eval, ("open('harm', 'w')",)),
        Calls(exec, ("open('harm', 'w')",)),
        Calls(subprocess.Popen, (["touch", "harm"],)),
        Calls(functools.partial(harm, 1), ()),
        Calls(getattr, (Calls(__import__, ("os",)), "system")),
        Calls(operator.methodcaller("system", "touch harm"), (Calls(__import__, ("os",)),)),
        Calls(map, (harm, [1, 2])),
        Calls(harm, (1,), {"state": 1}, iter([1, 2]), iter([("a", 1)])),
        SetsState(),
        Sequence([1]),
    ],
    ids=lambda evil: type(evil).__name__,
)
def test_nothing_runs(tmp_path, legacy, evil):
    weights = {"a": torch.arange(4.0), "b": torch.arange(3)}
    content = {"model": weights, "evil": evil, "also": [evil, {"key": evil}]}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    HARM.clear()
    found = read_pickle(tmp_path / "a.pt")
    assert isinstance(found["evil"], InertRecord)
    assert all(torch.equal(found["model"][name], value) for name, value in weights.items())
    plain(found["evil"])


def program(*operations):
    return b"\x80\x02" + b"".join(operations) + b"."


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


TEXT = lambda text: b"X" + struct.pack("<I", len(text)) + text.encode()
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        # State set on a function that is allowed: as attributes, and as slots.
        ((REBUILD, b"}", TEXT("x"), b"K\x01s", b"b"), "changes a function"),
        ((REBUILD, b"N}", TEXT("__code__"), b"K\x01s\x86", b"b"), "changes a function"),
        ((name("collections", "OrderedDict"), b"N}", TEXT("items"), b"K\x01s\x86", b"b"), "changes a function"),
        # State and entries set on a class instead of an object of it.
        ((name("os", "system"), b"}", TEXT("kind"), b"K\x01s", b"b"), "positional argument"),
        ((name("torch", "float32"), b"N}", TEXT("is_complex"), b"K\x01s\x86", b"b"), None),
        # Objects of classes that are no classes.
        ((REBUILD, b")\x81"), None),
        # Tensors of nothing.
        ((REBUILD, b"(K\x01K\x00))\x89}t", b"R"), "has no storage"),
        ((name("torch._utils", "_rebuild_parameter"), b"(K\x01\x88}t", b"R"), "is not a tensor"),
        # References that are no storages, with a program of their own inside.
        ((TEXT("module"), name("os", "system"), TEXT("file"), TEXT("source"), b"\x87Q"), None),
        ((b"(", TEXT("module"), name("os", "system"), TEXT("file"), TEXT("source"), b"NtQ"), "not a tensor"),
        ((b"(", TEXT("storage"), name("os", "system"), TEXT("0"), TEXT("cpu"), b"K\x01tQ"), "not a tensor"),
        ((b"(", TEXT("storage"), name("os", "system"), b")R", TEXT("0"), TEXT("cpu"), b"K\x01tQ"), "not a tensor"),
        ((b"(", TEXT("storage"), name("torch", "FloatStorage"), b"(lK\x01K\x01K\x01tQ"), "no key"),
        # Names by number.
        ((b"\x82\x01",), None),
    ],
)
def test_programs_that_reach_for_more_are_stopped(tmp_path, operations, error):
    before = (vars(torch._utils._rebuild_tensor_v2).copy(), torch._utils._rebuild_tensor_v2.__code__)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", program(*operations))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(4))
    with pytest.raises(UserError, match=error):
        read_pickle(tmp_path / "a.pt")
    assert before == (vars(torch._utils._rebuild_tensor_v2), torch._utils._rebuild_tensor_v2.__code__)


def test_names_with_dots_are_only_names():
    found = pickle_reader.load(io.BytesIO(b"\x80\x04\x8c\x02os\x8c\x0bpath.sys.ab\x93)R."))
    assert (found.kind, found.args) == ("os.path.sys.ab", ())


def test_every_file_has_classes_of_its_own():
    first, second = (pickle_reader.load(io.BytesIO(dumped(harm))) for _ in range(2))
    assert first is not second
    assert issubclass(first, InertRecord)


def test_nothing_is_read_where_names_have_numbers(monkeypatch):
    import copyreg

    copyreg.add_extension(__name__, "harm", 200)
    try:
        with pytest.raises(pickle.UnpicklingError, match="registered extensions"):
            pickle_reader.load(io.BytesIO(b"\x80\x02\x82\xc8(K\x01tR."))
    finally:
        copyreg.remove_extension(__name__, "harm", 200)


def test_torchscript_and_other_files_are_refused(tmp_path):
    class Doubles(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    with warnings.catch_warnings():
        # Newer versions of torch deprecate it, some by a DeprecationWarning, some by a FutureWarning.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Doubles(), torch.ones(1)), tmp_path / "a.pt")
    with pytest.raises(UserError, match="TorchScript"):
        read_pickle(tmp_path / "a.pt")
    for content in (b"", b"junk", b"\x80\x02", b"\x80", b"PK\x03\x04", bytes(range(256)), dumped({"a": 1})):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.pt: weights cannot be read"):
            read_pickle(tmp_path / "a.pt")


class Mode(enum.Enum):
    FAST = "fast"


def test_settings_become_plain_data(tmp_path):
    inner = Namespace(b=[1, 2.5, "x"], mode=Mode.FAST)
    settings = Namespace(a=inner, table=collections.OrderedDict(k=True), counts=collections.Counter(z=3), none=None)
    torch.save({"args": settings, "p": torch.nn.Parameter(torch.ones(2)), "h": torch.ones(2).half()}, tmp_path / "a.pt")
    found = read_pickle(tmp_path / "a.pt")
    assert plain(found["args"]) == {
        "a": {"b": [1, 2.5, "x"], "mode": "fast"},
        "table": {"k": True},
        "counts": {"z": 3},
        "none": None,
    }
    assert (found["p"].tolist(), found["p"].requires_grad, found["h"].dtype) == ([1, 1], False, torch.float16)


def test_settings_without_end_are_refused(tmp_path):
    circle = Namespace(a=1)
    circle.again, circle.more = circle, [circle]
    doubling = [1]
    for _ in range(60):
        doubling = [doubling, doubling]
    for settings in (circle, Namespace(x=doubling)):
        torch.save({"args": settings, "model": {"a": torch.ones(1)}}, tmp_path / "a.pt")
        with pytest.raises(pickle.UnpicklingError, match="larger or deeper"):
            plain(read_pickle(tmp_path / "a.pt")["args"])
        with pytest.raises(UserError, match="`args` cannot be read: the file's settings are larger"):
            read_model(tmp_path / "a.pt")
