"""Any encoder as a source of features: a file with a sample rate, a hop, `load` and `encode`.

::

    SAMPLE_RATE = 16000    # of the waveforms, in Hz
    HOP_SECONDS = 0.02     # from one frame to the next

    def load():            # once; may take `model` (what stands after a colon in the name) and `device`
        ...

    def encode(waveforms, lengths):   # may take `model`, what `load` returned
        ...                           # [clip, sample], [clip] -> layers, each [clip, frame, dim]

`encode` is given one clip at a time, so that padding cannot change what it says, unless the file has
``BATCHED = True``. ``LONGEST_SECONDS`` is the most audio that it takes at once. How many frames a clip of some samples
has is found out when the file is opened, by noise of a few lengths.

The file is a program of the user's and is run; so is only what a person has named on the command line or in a call. A
result or recipe that names such a file never makes it run.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audio_ssl.base.catalog import install_hint, load_part, parts
from audio_ssl.base.errors import AudioError, UserError, shown
from audio_ssl.base.user_file import place_of, run_file
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.weights import hashed_bytes

FOLDER = "features/encoder_files"
"""Files of this kind that come with the package."""

_LEAST_FRAMES = 8


def is_encoder_file(name: str) -> bool:
    """Return whether a name is that of a file with an encoder, or of a kind that comes with the package.

    Examples
    --------
    >>> is_encoder_file("my_encoder.py"), is_encoder_file("whisper:openai/whisper-base"), is_encoder_file("runs/a")
    (True, True, False)
    """
    return is_program(name) or name.partition(":")[0] in parts(FOLDER)


def is_program(name: str) -> bool:
    """Return whether opening a name would run a file of the user's."""
    return _split(name)[0].endswith(".py")


def _split(name: str) -> tuple[str, str | None]:
    """Return the file or kind of a name, and what stands after the colon."""
    file, found, rest = name.partition(".py:")
    if found:
        return f"{file}.py", rest
    if name.endswith(".py"):
        return name, None
    kind, found, rest = name.partition(":")
    return kind, rest if found else None


class EncoderFile:
    """A source of features whose numbers come from `encode` of a file.

    Parameters
    ----------
    name
        ``FILE.py``, ``FILE.py:MODEL`` or ``KIND:MODEL``.
    module
        The file, run.
    """

    def __init__(self, name: str, module: ModuleType) -> None:
        self.name, self._module, self.device = name, module, torch.device("cpu")
        self._where = module.__file__ or name
        self._argument = _split(name)[1]
        self.sample_rate = self._number("SAMPLE_RATE", int)
        hop = self._number("HOP_SECONDS", float) * self.sample_rate
        self._hop = round(hop)
        if self._hop < 1 or abs(hop - self._hop) > 1e-6 * hop:
            raise self._wrong(
                f"`HOP_SECONDS` must be a whole number of samples, but is {hop:g} at {self.sample_rate} Hz"
            )
        longest = self._number("LONGEST_SECONDS", float) if "LONGEST_SECONDS" in vars(module) else None
        self._longest = None if longest is None else int(longest * self.sample_rate)
        self._batched = vars(module).get("BATCHED") is True
        self._load_takes = self._parameters("load", ())
        self._encode_takes = self._parameters("encode", ("waveforms", "lengths"))
        self._loaded: Any = None
        self._load()
        probe = self._encode(self._noise(self._start()))
        self.num_layers, self.dim = len(probe), probe[0].shape[-1]
        self.grid = self._find_grid()
        self.fingerprint = self._fingerprint()

    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return layers and each clip's frames; AudioError where the file fails with one of the clips."""
        clips = [row[:count] for row, count in zip(waveform, lengths.tolist(), strict=True)]
        counts = [self.grid.num_frames(len(clip)) for clip in clips]
        if self._batched and all(self._longest is None or len(clip) <= self._longest for clip in clips):
            found = self._encode(waveform[:, : int(lengths.max())], lengths)
            rows = [[layer[row] for layer in found] for row in range(len(clips))]
        else:
            rows = [self._clip(clip) for clip in clips]
        for clip, layers, count in zip(clips, rows, counts, strict=True):
            if len(layers[0]) < count or (not self._batched and len(layers[0]) != count):
                raise AudioError(
                    f"{self._where}: `encode` gives {len(layers[0])} frames of {len(clip)} samples; the rule that "
                    f"other lengths follow gives {count}"
                )
        pad = torch.nn.utils.rnn.pad_sequence
        depth = self.num_layers if top is None else top + 1
        hidden = [
            pad([row[layer][:count] for row, count in zip(rows, counts, strict=True)], True) for layer in range(depth)
        ]
        return [layer.to(self.device) for layer in hidden], torch.tensor(counts)

    def statistics(self, blocks: Iterable[Tensor]) -> None:
        """Return None: what a file computes over a whole clip is not known, so a part is encoded by itself."""

    def at(self, device: torch.device, precision: str) -> EncoderFile:
        """Return the source on a device; a file whose `load` does not take `device` stays on the CPU."""
        if precision != "float32":
            raise UserError(
                f"`precision` must be float32 for an encoder's file, but is {precision}",
                where=self._where,
                remedy="leave it out; the file may compute as it likes",
            )
        other = copy.copy(self)
        if "device" in self._load_takes and device != self.device:
            other.device = device
            other._load()
        return other

    def _load(self) -> None:
        given: dict[str, Any] = {}
        if "model" in self._load_takes and self._argument is not None:
            given["model"] = self._argument
        if "device" in self._load_takes:
            given["device"] = self.device
        if self._argument is not None and "model" not in self._load_takes:
            raise self._wrong(f"`load` takes no `model`, but the name has {shown(self._argument)}")
        if self._argument is None and self._load_takes.get("model") is inspect.Parameter.empty:
            kind = _split(self.name)[0]
            raise self._wrong("`load` needs a `model`, and the name has none", remedy=f"give {kind}:MODEL")
        self._loaded = self._run("load", lambda: self._module.load(**given))
        if isinstance(self._loaded, nn.Module):
            self._loaded.eval()

    def _clip(self, samples: Tensor) -> list[Tensor]:
        """Return the layers ``[frame, dim]`` of one clip, encoded in pieces where it is too long for one."""
        if self._longest is None or len(samples) <= self._longest:
            return [layer[0] for layer in self._encode(samples[None])]
        grid, total = self.grid, self.grid.num_frames(len(samples))
        most = next(
            count for count in range(self._longest // self._hop + 2, 0, -1) if grid.num_samples(count) <= self._longest
        )
        pieces = []
        for first in range(0, total, most):
            count = min(most, total - first)
            start = first * self._hop
            found = self._encode(samples[None, start : start + max(grid.num_samples(count), self._hop)])
            pieces.append([layer[0, :count] for layer in found])
        return [torch.cat(parts) for parts in zip(*pieces, strict=True)]

    def _encode(self, waveforms: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Return checked layers; AudioError where the file fails."""
        if lengths is None:
            lengths = torch.tensor([waveforms.shape[1]])
        given = {"model": self._loaded} if "model" in self._encode_takes else {}
        place = self.device if "device" in self._load_takes else torch.device("cpu")
        try:
            with torch.inference_mode():
                found = self._module.encode(waveforms.to(place), lengths, **given)
        # Whatever a user's program raises.
        except Exception as error:
            raise AudioError(f"{place_of(error, self._where)}: {type(error).__name__}: {error}") from error
        return self._checked(found, len(waveforms))

    def _checked(self, found: Any, clips: int) -> list[Tensor]:
        if isinstance(found, Tensor | np.ndarray):
            found = list(torch.as_tensor(found)) if found.ndim == 4 else [found]
        if not isinstance(found, Sequence) or not found:
            raise self._wrong(
                f"`encode` must return layers, [clip, frame, dim] each, but returned {shown(type(found).__name__)}"
            )
        layers = [torch.as_tensor(layer).detach().float() for layer in found]
        shapes = [tuple(layer.shape) for layer in layers]
        if any(len(shape) != 3 or shape[0] != clips for shape in shapes):
            raise self._wrong(
                f"`encode` must return layers of [clip, frame, dim] with {clips} clips, but one is {list(shapes[0])}"
            )
        if len(set(shapes)) > 1:
            some = " and ".join(str(list(shape)) for shape in sorted(set(shapes))[:2])
            raise self._wrong(f"all layers of `encode` must have one shape, but there are {some}")
        if not all(bool(layer.isfinite().all()) for layer in layers):
            raise AudioError(f"{self._where}: `encode` gives numbers that are not finite")
        return layers

    def _find_grid(self) -> FrameGrid:
        """Return the grid by which `encode` counts frames: where in a hop the next one appears."""
        start = self._start()
        before = self._count(start)
        if self._count(start + self._hop) != before + 1:
            raise self._wrong(
                f"`HOP_SECONDS` must be the time from one frame to the next: {start} samples give {before} frames, and "
                f"{start + self._hop} give {self._count(start + self._hop)}"
            )
        low, high = 0, self._hop
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._count(start + middle) > before else (middle, high)
        window = start + high - before * self._hop
        if window < 0:
            raise self._wrong(f"`encode` gives {before} frames of {start} samples, more than there are hops")
        if window == 0:
            return FrameGrid(self.sample_rate, self._hop, self._hop, "center")
        return FrameGrid(self.sample_rate, self._hop, window)

    def _start(self) -> int:
        """Return a number of samples, whole hops: about a second, and no more than half of what may be given."""
        frames = max(_LEAST_FRAMES, self.sample_rate // self._hop)
        if self._longest is not None:
            frames = max(1, min(frames, self._longest // self._hop // 2))
        return int(frames * self._hop)

    def _count(self, samples: int) -> int:
        return int(self._encode(self._noise(samples))[0].shape[1])

    def _noise(self, samples: int) -> Tensor:
        return 0.05 * torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(Path(self._where).read_bytes())
        digest.update(f"{self._argument}".encode())
        if isinstance(self._loaded, nn.Module):
            for part in hashed_bytes(self._loaded.state_dict()):
                digest.update(part)
        return digest.hexdigest()[:16]

    def _number(self, name: str, kind: type) -> Any:
        value = getattr(self._module, name, None)
        allowed = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed) or not value > 0:
            found = "is missing" if value is None else f"is {shown(value)}"
            what = "a whole number above 0" if kind is int else "a number above 0"
            raise self._wrong(f"`{name}` must be {what}, but {found}")
        return value

    def _parameters(self, name: str, needed: tuple[str, ...]) -> dict[str, Any]:
        """Return the defaults of a function's optional parameters by name."""
        function = getattr(self._module, name, None)
        if not callable(function):
            raise self._wrong(f"`{name}` must be a function, but {'is missing' if function is None else 'is not one'}")
        found = dict(inspect.signature(function).parameters)
        positional = list(found)[: len(needed)]
        if len(positional) < len(needed):
            raise self._wrong(f"`{name}` must take {' and '.join(needed)}")
        others = {key: value.default for key, value in found.items() if key not in positional}
        known = ("model",) if needed else ("model", "device")
        for key, default in others.items():
            if key not in known and default is inspect.Parameter.empty:
                raise self._wrong(f"`{name}` may take {' and '.join((*needed, *known))}, but needs `{key}`")
        return {key: value for key, value in others.items() if key in known}

    def _run(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except UserError:
            raise
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            raise self._wrong(f"`{name}` needs the package {package}", remedy=install_hint(package)) from error
        # Whatever a user's program raises.
        except Exception as error:
            at = place_of(error, self._where)
            raise UserError(f"`{name}` failed: {type(error).__name__}: {error}", where=at) from error

    def _wrong(self, what: str, remedy: str = "docs/exchange.md#any-encoder has an example") -> UserError:
        return UserError(what, where=self._where, remedy=remedy)


def open_encoder_file(name: str) -> EncoderFile:
    """Run a file with an encoder, or one that comes with the package, and return it as a source of features.

    Parameters
    ----------
    name
        ``FILE.py``, ``FILE.py:MODEL`` or ``KIND:MODEL``.

    Raises
    ------
    UserError
        If there is no such file, it fails, or something that it must define is missing or wrong.
    """
    file, _ = _split(name)
    if not is_program(name):
        return _opened(name, load_part(FOLDER, file))
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file `{file}`", remedy="give the path of a file with `load` and `encode`")
    return _opened(name, run_file(path.resolve(), "file"))


def _opened(name: str, module: ModuleType) -> EncoderFile:
    try:
        return EncoderFile(name, module)
    except AudioError as error:
        # Noise was given, so it is no fault of a clip.
        raise UserError(f"`encode` fails with a second of noise: {error.reason}") from error
