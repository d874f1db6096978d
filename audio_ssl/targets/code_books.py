"""Code books: centroids of a layer, and the code of a frame, which is its nearest centroid.

They are read as this package, scikit-learn, fairseq and textlesslib write them. Near ties are decided in float64: in
float32 the sums of one product may differ in their last digits between processors, sizes of batches and libraries.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write
from audio_ssl.base.npy import open_npy
from audio_ssl.interop.joblib_reader import cluster_centers
from audio_ssl.models.weights import hashed_bytes
from audio_ssl.targets.clustering import nearest_exactly

CODE_BOOK_FILE, STATE_FILE = "codebook.safetensors", "kmeans.safetensors"
"""What a folder of units and the teacher `kmeans` call theirs."""

ACCEPTED = (
    "give a folder of units, the kmeans.safetensors of a run's teacher, a file of scikit-learn's k-means "
    "(fairseq's and textlesslib's .bin), or centroids [code, dim] as .npy or .safetensors"
)

_FITTED_TO = "fitted_to"
"""The only entry of a file's metadata, as several come in any order: ``MODEL layer N``."""

_SCALED = ("mean", "scale")


@dataclass(frozen=True, eq=False)
class CodeBook:
    """Centroids, and how frames are scaled before they are compared with them."""

    centroids: Float[Tensor, "code dim"]
    mean: Float[Tensor, " dim"]
    """Subtracted from a frame; zeros where frames are compared as they are."""
    scale: Float[Tensor, " dim"]
    """A frame is multiplied by it after that; ones where frames are compared as they are."""
    model: str | None = None
    """Fingerprint of the features that it was fitted to; None: the file does not say."""
    layer: int | None = None
    """Of that model; None: the file does not say."""

    @property
    def size(self) -> int:
        """Return the number of codes."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        """Return the width of a frame."""
        return self.centroids.shape[1]

    @property
    def fingerprint(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of its numbers."""
        digest = hashlib.sha256()
        for part in hashed_bytes(self.tensors()):
            digest.update(part)
        return digest.hexdigest()[:16]

    def tensors(self) -> dict[str, Tensor]:
        """Return its tensors, as the teacher `kmeans` names them."""
        return {"centroids": self.centroids, "mean": self.mean, "scale": self.scale}

    def to(self, device: torch.device) -> CodeBook:
        """Return the code book on a device."""
        moved = {name: value.to(device) for name, value in self.tensors().items()}
        return CodeBook(**moved, model=self.model, layer=self.layer)

    def codes(self, frames: Float[Tensor, "frame dim"]) -> Int[Tensor, " frame"]:
        """Return the nearest centroid of each frame; of equally near ones the first."""
        return nearest_exactly((frames.float() - self.mean) * self.scale, self.centroids)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        told = {} if self.model is None or self.layer is None else {_FITTED_TO: f"{self.model} layer {self.layer}"}
        with atomic_write(path) as partial:
            tensors = {name: value.contiguous() for name, value in self.tensors().items()}
            save_file(tensors, partial, told)


def of_centroids(centroids: Tensor) -> CodeBook:
    """Return the code book of centroids ``[code, dim]`` that frames are compared with as they are."""
    dim = centroids.shape[1]
    return CodeBook(centroids.float(), torch.zeros(dim), torch.ones(dim))


def read_code_book(path: Path) -> CodeBook:
    """Read a code book.

    Parameters
    ----------
    path
        A folder of units or that of a fitted k-means teacher, or a file: ``.safetensors`` with ``centroids`` (and
        ``mean`` and ``scale``, which the teacher's has) or with one tensor alone; ``.npy``; anything else as joblib
        or pickle wrote scikit-learn's k-means, without running what it names.

    Raises
    ------
    UserError
        If there is no such file, it is damaged, or it holds no centroids.
    """
    if path.is_dir():
        found = [path / name for name in (CODE_BOOK_FILE, STATE_FILE) if (path / name).is_file()]
        if not found:
            raise UserError("the folder has no code book", where=str(path), remedy=ACCEPTED)
        path = found[0]
    if not path.is_file():
        raise UserError("no such code book", where=str(path), remedy=ACCEPTED)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npy":
        return of_centroids(_checked(_read_npy(path), path))
    return of_centroids(_checked(torch.from_numpy(cluster_centers(path)), path))


def _read_npy(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.array(open_npy(path), dtype=np.float32))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"centroids cannot be read: {error}", where=str(path), remedy=ACCEPTED) from error


def _read_safetensors(path: Path) -> CodeBook:
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (OSError, SafetensorError) as error:
        raise UserError(f"the code book cannot be read: {error}", where=str(path), remedy=ACCEPTED) from error
    if "centroids" not in tensors:
        if len(tensors) != 1:
            names = ", ".join(sorted(tensors)[:5]) or "nothing"
            raise UserError(f"the file has no `centroids`, but {names}", where=str(path), remedy=ACCEPTED)
        tensors = {"centroids": next(iter(tensors.values()))}
    centroids = _checked(tensors["centroids"], path)
    plain = of_centroids(centroids)
    scaling = {name: tensors.get(name, getattr(plain, name)).float() for name in _SCALED}
    if any(value.shape != (plain.dim,) or not bool(torch.isfinite(value).all()) for value in scaling.values()):
        raise UserError(
            f"`mean` and `scale` must be {plain.dim} finite numbers, as many as a centroid", where=str(path)
        )
    model, _, layer = told.get(_FITTED_TO, "").partition(" layer ")
    known = bool(model) and layer.isascii() and layer.isdecimal()
    return CodeBook(centroids.float(), **scaling, model=model if known else None, layer=int(layer) if known else None)


def _checked(centroids: Tensor, path: Path) -> Tensor:
    if centroids.ndim != 2 or not centroids.numel() or not centroids.is_floating_point():
        kind = str(centroids.dtype).removeprefix("torch.")
        raise UserError(
            f"centroids must be numbers [code, dim], but are {kind} {list(centroids.shape)}",
            where=str(path),
            remedy=ACCEPTED,
        )
    if not bool(torch.isfinite(centroids).all()):
        raise UserError("the code book has centroids with NaN or infinity", where=str(path))
    return centroids
