"""Settings that weights do not contain: sample rate, normalisation, number of attention heads.

They come from the caller or from a file and are never guessed. Every command, recipe and function that takes a model
takes them in its name: ``MODEL?normalize=false&sample_rate=16000&heads=12``. Where features are computed, the name may
have ``point=feed_forward`` as well (`take_point`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast, get_args

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.models.points import Point

logger = logging.getLogger(__name__)

FAIRSEQ_EPSILON = 1e-5
"""Added to a clip's variance by torch's layer norm, with which fairseq, fairseq2 and torchaudio standardise."""

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Width to heads of every published model of the wav2vec 2.0 family (base, large, x-large, XLS-R 1B and 2B)."""


class ModelSettings(NamedTuple):
    """What the caller or a file says of a model; None: nothing."""

    normalize: bool | None = None
    """Whether each waveform gets zero mean and unit variance."""
    sample_rate: int | None = None
    """In Hz."""
    heads: int | None = None
    """Attention heads."""


class Preparation(NamedTuple):
    """How waveforms are prepared for a model."""

    normalize: bool
    """Whether each gets zero mean and unit variance."""
    sample_rate: int
    """In Hz."""


class MissingSettingError(UserError):
    """A setting that is neither in the model's files nor given by the caller.

    Parameters
    ----------
    what, where, remedy
        As of `UserError`. Without a remedy, it is the one for a caller in Python.
    missing
        The settings.
    """

    def __init__(self, what: str, where: Path | str, missing: Sequence[str], remedy: str | None = None) -> None:
        self.missing = tuple(missing)
        values = {
            "normalize": "normalize=True or False (are waveforms standardised?)",
            "sample_rate": "sample_rate=16000",
        }
        wanted = " and ".join(values.get(name, f"{name}=12") for name in missing)
        remedy = remedy or f"give {wanted}, as the model's authors document it"
        super().__init__(what, where=str(where), remedy=remedy)


@contextmanager
def invalid_settings(where: Path | str | None) -> Iterator[None]:
    """Report settings of a wrong type or size as an error that names the file."""
    place = None if where is None else str(where)
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=error.where or place, remedy=error.remedy) from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the model's settings are invalid: {error}", where=place) from error


def preparation_of(given: ModelSettings, found: ModelSettings, source: str, where: Path | str) -> Preparation:
    """Return normalisation and sample rate: the caller's, else those of a file.

    Parameters
    ----------
    given
        What the caller says.
    found
        What `source` says. Values of a file of another library may have any type.
    source
        The place where a file says them, for errors and the log.
    where
        The model.

    Raises
    ------
    UserError
        If neither gives them.
    """
    missing = [name for name in Preparation._fields if getattr(given, name) is None and getattr(found, name) is None]
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        raise MissingSettingError(
            f"{names} of the model must be given: neither the weights nor {source} contain "
            f"{'it' if len(missing) == 1 else 'them'}",
            where,
            missing,
        )
    for name in Preparation._fields:
        mine, theirs = getattr(given, name), getattr(found, name)
        if mine is not None and theirs is not None and mine != theirs:
            logger.info("%s: %s=%s as given; %s says %s", where, name, mine, source, theirs)
    normalize: object = found.normalize if given.normalize is None else given.normalize
    rate: object = found.sample_rate if given.sample_rate is None else given.sample_rate
    number = isinstance(rate, int | float) and not isinstance(rate, bool) and float(rate).is_integer() and rate > 0
    if not isinstance(normalize, bool) or not isinstance(rate, int | float) or not number:
        raise UserError(
            f"`normalize` must be true or false and `sample_rate` a number of Hz, but are {normalize!r} and {rate!r}",
            where=str(where),
        )
    return Preparation(normalize, int(rate))


def heads_of(given: ModelSettings, found: object, dim: int, where: Path | str) -> int:
    """Return the number of attention heads: the caller's, the file's, or that of all published models of this width.

    Raises
    ------
    UserError
        If it is unknown, or does not divide the width.
    """
    heads = given.heads if given.heads is not None else found if found is not None else HEADS.get(dim)
    if heads is None:
        raise MissingSettingError(
            f"`heads` is unknown: the weights of a model of width {dim} do not contain it",
            where,
            ["heads"],
        )
    if given.heads is not None and found is not None and given.heads != found:
        logger.info("%s: heads=%s as given; the file says %s", where, heads, found)
    if not isinstance(heads, int) or heads < 1 or dim % heads:
        raise UserError(f"`heads` must divide the width {dim}, but is {heads}", where=str(where))
    return heads


_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
EXAMPLES = {"normalize": "false", "sample_rate": "16000", "heads": "12"}
"""The settings of a model, each with a value to show."""


def parse_name(name_or_path: str | Path, given: ModelSettings = ModelSettings()) -> tuple[str | Path, ModelSettings]:  # noqa: B008
    """Split a model's name into the name or path without settings and the settings.

    Parameters
    ----------
    name_or_path
        Settings follow the last question mark, unless a path of this name exists.
    given
        What was given beside the name.

    Raises
    ------
    UserError
        If a setting is not known, has no sensible value, or is given twice with different values.

    Examples
    --------
    >>> parse_name("facebook/hubert-base-ls960?normalize=false&sample_rate=16000")
    ('facebook/hubert-base-ls960', ModelSettings(normalize=False, sample_rate=16000, heads=None))
    """
    name = str(name_or_path)
    plain, mark, query = name.rpartition("?")
    if not mark or isinstance(name_or_path, Path) or path_of(name).exists():
        return name_or_path, given
    found = given._asdict()
    for word in query.split("&"):
        key, equals, text = word.partition("=")
        if key not in EXAMPLES:
            raise unknown_name("setting of a model", key, EXAMPLES, where=name)
        value = _value(key, text.strip() if equals else "", name)
        if found[key] not in (None, value):
            raise UserError(f"`{key}` is given twice, as {found[key]} and as {value}", where=name)
        found[key] = value
    return plain, ModelSettings(**found)


def take_point(name: str) -> tuple[str, Point]:
    """Split a model's name into the name without ``point=`` and the point, which only features use.

    Examples
    --------
    >>> take_point("weights.pt?normalize=false&point=feed_forward")
    ('weights.pt?normalize=false', 'feed_forward')
    >>> take_point("weights.pt")
    ('weights.pt', 'output')
    """
    plain, mark, query = name.rpartition("?")
    words = query.split("&")
    points = [word.removeprefix("point=") for word in words if word.startswith("point=")]
    if not mark or not points or path_of(name).exists():
        return name, "output"
    if len(points) > 1 or points[0] not in get_args(Point):
        raise UserError(
            f"`point` must be {' or '.join(get_args(Point))}, but is `{'&'.join(points)}`",
            where=name,
            remedy="say `point` once, as one of these two",
        )
    rest = "&".join(word for word in words if not word.startswith("point="))
    return f"{plain}?{rest}" if rest else plain, cast(Point, points[0])


def path_of(name: str | Path) -> Path:
    """Return the path that a name may be, ``~`` resolved where there is such a user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def with_remedy(error: MissingSettingError, name: str) -> MissingSettingError:
    """Return the error with a remedy: the model's name with the missing settings, as every command takes it."""
    which = ": normalize=true where waveforms are standardised" if "normalize" in error.missing else ""
    remedy = f"name the model as {with_settings(name, error.missing)}, with the values that its authors document{which}"
    return MissingSettingError(error.what, error.where or name, error.missing, remedy)


def with_settings(name: str, missing: Iterable[str]) -> str:
    """Return a model's name with a value for each missing setting, as it is typed in a shell.

    Examples
    --------
    >>> with_settings("weights.pt", ["normalize", "heads"])
    "'weights.pt?normalize=false&heads=12'"
    """
    settings = "&".join(f"{key}={EXAMPLES[key]}" for key in missing)
    return f"'{name}{'&' if '?' in name and not path_of(name).exists() else '?'}{settings}'"


def _value(key: str, text: str, where: str) -> bool | int:
    if key == "normalize":
        value: bool | int | None = _BOOLS.get(text.lower())
        kind = "true or false"
    else:
        value = int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) else None
        kind = "a whole number above 0"
    if value is None:
        raise UserError(f"`{key}` must be {kind}, but is `{text}`", where=where, remedy=f"give {key}={EXAMPLES[key]}")
    return value
