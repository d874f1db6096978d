"""Reads the centroids of scikit-learn's k-means as joblib or pickle wrote them, without running anything they name.

fairseq (``hubert_base_ls960_L9_km500.bin``), GSLM and textlesslib (``km.bin``) keep code books as such files. A file of
joblib is a pickle in which the bytes of each array follow the description of it, ``NumpyArrayWrapper``: subclass,
shape, order, number type, and since joblib 1.2 an alignment, for which a byte says how many bytes to pass over. So the
interpreter of pickles has to stop there; the one in Python does, while the one in C reads ahead. Everything named in
the file becomes an inert record (`audio_ssl.interop.pickle_reader`), and the arrays are made of records here.

Compressed files are those of the standard library: zlib, gzip, bz2, xz, lzma.
"""

from __future__ import annotations

import bz2
import io
import lzma
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError, shown
from audio_ssl.interop.pickle_reader import InertRecord, WithoutForeignNames

PICKLED_CLUSTERS = (".bin", ".km", ".pkl", ".pickle", ".joblib")
"""What files of scikit-learn's k-means are called."""

_MOST_BYTES = 4 << 30
"""Of a file, and of what a compressed one holds. A code book of 10,000 codes of 4,096 values has 0.16 GB."""


class _Decompressor(Protocol):
    """Of the standard library."""

    @property
    def eof(self) -> bool:
        """Tell whether the end of the compressed data was reached."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what the data hold, at most so many bytes of it."""
        ...


_COMPRESSED: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZ": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"]\x00": lzma.LZMADecompressor,
    b"x": lambda: zlib.decompressobj(),
}
"""First bytes of files of gzip, bz2, xz, lzma and zlib, and what reads them."""

_WRAPPER, _OLD_WRAPPERS = "NumpyArrayWrapper", ("NDArrayWrapper", "ZNDArrayWrapper")
_NUMBERS = "fiub"
"""Kinds of number types that are read."""

_SAVE_AGAIN = (
    "open the file with a joblib of its time, and save `model.cluster_centers_` with numpy.save as a .npy file"
)


def cluster_centers(path: Path) -> npt.NDArray[np.float32]:
    """Return the centroids ``[cluster, dim]`` of a k-means that joblib or pickle wrote; nothing in the file is run.

    Parameters
    ----------
    path
        The file: a fitted ``KMeans`` or ``MiniBatchKMeans`` of any version of scikit-learn, or the array of its
        centroids.

    Raises
    ------
    UserError
        If the file is damaged, too large, of joblib before 0.10, compressed with lz4, or holds something else.
    """
    content = read_joblib(path)
    found = content if _is_array(content) else _attributes(content).get("cluster_centers_")
    if found is None:
        kind = _name(content) or type(content).__name__
        raise UserError(
            f"the file holds no fitted k-means: no `cluster_centers_` in {shown(kind)}",
            where=str(path),
            remedy="give a file in which joblib or pickle wrote scikit-learn's KMeans or MiniBatchKMeans",
        )
    try:
        centers = _array(found)
    # Records of a damaged file may hold anything in any place.
    except Exception as error:
        raise _unreadable(path, error) from error
    if centers.ndim != 2 or not centers.size or not np.isfinite(centers).all():
        raise UserError(
            f"`cluster_centers_` must be finite numbers [cluster, dim], but are {list(centers.shape)}"
            + ("" if centers.ndim != 2 or not centers.size else " with NaN or infinity among them"),
            where=str(path),
        )
    return np.array(centers, dtype=np.float32, order="C")


def read_joblib(path: Path) -> Any:
    """Return what a file of joblib or pickle holds: plain values, and inert records of all else.

    The array that a record of a ``NumpyArrayWrapper`` describes is the only one of its `items`.

    Raises
    ------
    UserError
        If it is no such file, is damaged, or has a form that is not read.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(io.BytesIO(_content(file, path)), path).load()
    except UserError:
        raise
    # A damaged pickle may raise anything.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error) or type(error).__name__
    return UserError(f"the code book cannot be read as joblib or pickle wrote it: {reason}", where=str(path))


def _content(file: IO[bytes], path: Path) -> bytes:
    """Return the bytes of a file, decompressed."""
    start = file.read(8)
    file.seek(0)
    if start.startswith(b"ZF"):
        raise UserError("joblib before 0.10 wrote this file, in a form of its own", where=str(path), remedy=_SAVE_AGAIN)
    if start.startswith(b"\x04\x22\x4d\x18"):
        raise UserError(
            "the file is compressed with lz4, which is not read here",
            where=str(path),
            remedy="save it again without compression: joblib.dump(joblib.load(FILE), NEW_FILE)",
        )
    data = file.read(_MOST_BYTES + 1)
    for mark, make in _COMPRESSED.items():
        if start.startswith(mark):
            stream = make()
            data = stream.decompress(data, _MOST_BYTES + 1)
            if not stream.eof and len(data) <= _MOST_BYTES:
                raise EOFError("the compressed data end too early")
            break
    if len(data) > _MOST_BYTES:
        raise pickle.UnpicklingError(f"it holds more than {_MOST_BYTES >> 30} GiB")
    return data


class _Unpickler(WithoutForeignNames, pickle._Unpickler):
    """The interpreter of pickles in Python, which reads no byte before it needs it, without foreign names."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._source, self._path = file, path
        self._classes: dict[tuple[str, str], Any] = {}

    def _build(self) -> None:
        """Set an object's state; where it describes an array, read the bytes that follow it."""
        super().load_build()  # type: ignore[misc]
        made = self.stack[-1]  # type: ignore[attr-defined]
        name = _name(made)
        if name in _OLD_WRAPPERS:
            raise UserError(
                "joblib before 0.10 wrote this file, with its arrays in other files",
                where=str(self._path),
                remedy=_SAVE_AGAIN,
            )
        if name == _WRAPPER:
            made.items[:] = [self._follow(_state(made))]

    def _follow(self, wrapper: dict[str, Any]) -> object:
        """Return the array whose bytes come next, or, of Python objects, what is pickled next."""
        dtype = wrapper["dtype"]
        if _kind(dtype) == "O":
            return _Unpickler(self._source, self._path).load()
        numbers = _dtype(dtype)
        shape = _shape(wrapper["shape"])
        if wrapper.get("numpy_array_alignment_bytes") is not None:
            self._source.read(self._source.read(1)[0])
        data = self._source.read(math.prod(shape) * numbers.itemsize)
        return _shaped(data, numbers, shape, wrapper["order"] == "F")

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _build}


# --- records as arrays ------------------------------------------------------------------------------------------------


def _state(record: InertRecord) -> dict[str, Any]:
    return record.state if isinstance(record.state, dict) else {}


def _attributes(content: object) -> dict[str, Any]:
    """Return what an object of the file was made of, or a dictionary's entries."""
    if isinstance(content, InertRecord):
        return _state(content)
    return content if isinstance(content, dict) else {}


def _name(value: object) -> str:
    """Return the name of a record's class or function, without its module; empty for anything else."""
    if not isinstance(value, InertRecord):
        return ""
    kind = value.kind
    # Protocols 0 and 1 make an object by a function, whose first argument is the class.
    if kind.endswith("._reconstructor") and value.args:
        kind = str(getattr(value.args[0], "KIND", ""))
    return kind.rpartition(".")[2]


def _is_array(value: object) -> bool:
    """Tell whether a record is an array, as joblib or as pickle write it."""
    return _name(value) in (_WRAPPER, "_reconstruct", "_frombuffer")


def _array(value: object) -> npt.NDArray[Any]:
    """Return the array of a record.

    pickle writes arrays as calls: ``_reconstruct(...)`` with the state (version, shape, number type, whether in
    Fortran's order, bytes), or since protocol 5 ``_frombuffer(bytes, number type, shape, order)``.
    """
    if not _is_array(value):
        raise pickle.UnpicklingError("`cluster_centers_` is not an array")
    assert isinstance(value, InertRecord)
    name = _name(value)
    if name == _WRAPPER:
        (found,) = value.items
        if not isinstance(found, np.ndarray):
            raise pickle.UnpicklingError("`cluster_centers_` is an array of Python objects")
        return found
    if name == "_frombuffer":
        data, numbers, shape, order = value.args
        return _shaped(_bytes(data), _dtype(numbers), _shape(shape), order == "F")
    state: tuple[Any, ...] = value.state if isinstance(value.state, tuple) else ()
    _, shape, numbers, fortran, data = state
    return _shaped(_bytes(data), _dtype(numbers), _shape(shape), bool(fortran))


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    # Protocols before 3 have no bytes: they are written as the call of an encoder.
    if isinstance(value, InertRecord) and value.kind == "_codecs.encode":
        return str(value.args[0]).encode("latin-1")
    if isinstance(value, InertRecord) and value.kind.endswith(".bytearray"):
        return _bytes(value.args[0])
    if not isinstance(value, bytes | bytearray):
        raise pickle.UnpicklingError("an array of the file has no bytes")
    return bytes(value)


def _kind(dtype: object) -> str:
    """Return the letter of a number type, ``O`` for Python objects."""
    if not isinstance(dtype, InertRecord) or not dtype.args:
        raise pickle.UnpicklingError("an array of the file has no number type")
    return str(dtype.args[0])[:1]


def _dtype(dtype: object) -> np.dtype[Any]:
    """Return the number type of a record: ``dtype("f4", ...)`` with the state (version, byte order, ...)."""
    if _kind(dtype) not in _NUMBERS:
        raise pickle.UnpicklingError("an array of the file is not made of numbers")
    assert isinstance(dtype, InertRecord)
    order = dtype.state[1] if isinstance(dtype.state, tuple) else "="
    return np.dtype(str(dtype.args[0])).newbyteorder("=" if order == "|" else str(order))  # type: ignore[arg-type]


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list):
        raise pickle.UnpicklingError("an array of the file has no shape")
    # joblib keeps some lengths as numbers of numpy, which are calls of `scalar` with their bytes.
    found = tuple(_length(one) for one in shape)
    if any(one < 0 for one in found):
        raise pickle.UnpicklingError("an array of the file has a negative length")
    return found


def _length(value: object) -> int:
    if isinstance(value, InertRecord) and value.kind.endswith(".scalar"):
        dtype, data = value.args
        return int(np.frombuffer(_bytes(data), _dtype(dtype))[0])
    if type(value) is not int:
        raise pickle.UnpicklingError("a length of an array is not a whole number")
    return value


def _shaped(data: bytes, numbers: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> npt.NDArray[Any]:
    if len(data) != math.prod(shape) * numbers.itemsize:
        raise EOFError("the file ends within an array")
    flat = np.frombuffer(data, numbers)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
