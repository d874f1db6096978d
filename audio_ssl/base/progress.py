"""Progress of long work: a bar with the time left on a terminal, or a line from time to time in a log."""

from __future__ import annotations

import bisect
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
_PLAIN_INTERVAL_SECONDS = 10.0
_MOST_SAMPLES = 512


class Pace:
    """Seconds per unit, estimated from the later half of the units, as the first ones are slow while caches fill.

    Rare work between units, such as validation, is included. The memory does not depend on the number of units.

    Examples
    --------
    >>> pace = Pace(0, now=0.0)
    >>> for second in (100.0, 101.0, 102.0, 103.0):
    ...     pace.add(1, second)
    >>> pace.seconds_per_unit
    1.0
    """

    def __init__(self, done: int, now: float) -> None:
        self._done, self._times = [done], [now]

    def add(self, units: int, now: float) -> None:
        """Add units that were done until `now`."""
        self._done.append(self._done[-1] + units)
        self._times.append(now)
        if len(self._done) > _MOST_SAMPLES:
            # The last sample is kept as the start of the next one.
            self._done[:-1], self._times[:-1] = self._done[:-1:2], self._times[:-1:2]

    @property
    def seconds_per_unit(self) -> float | None:
        """The pace; None before the first unit."""
        fresh = self._done[-1] - self._done[0]
        if fresh <= 0:
            return None
        half = self._done[0] + (max(1, fresh // 2) if fresh > 1 else 0)
        start = min(bisect.bisect_left(self._done, half), len(self._done) - 2)
        return (self._times[-1] - self._times[start]) / max(1, self._done[-1] - self._done[start])


class Progress:
    """Counts up to `total` and shows it on standard error.

    Parameters
    ----------
    description
        Name of the work.
    total
        Number of units; None if unknown.
    initial
        Number of units that are already done, for example by a resumed run.
    silent
        Show nothing, as another process shows the same work.

    Examples
    --------
    >>> with Progress("fit", total=2) as progress:
    ...     progress.advance(1, loss=0.5)
    """

    def __init__(self, description: str, total: int | None = None, initial: int = 0, silent: bool = False) -> None:
        self._silent = silent
        self.description = description
        self.total = total
        self.done = initial
        self._started = time.monotonic()
        self._last_line = self._started
        self._pace = Pace(initial, self._started)
        self._bar = _make_bar() if sys.stderr.isatty() and not silent else None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        self._pace = Pace(self.done, self._started)
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, left="", note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._last_line > self._started:
            self._line()

    def advance(self, units: int = 1, **values: float | str) -> None:
        """Add `units`. The `values` are shown beside the bar."""
        self.done += units
        now = time.monotonic()
        self._pace.add(units, now)
        note = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, left=self._left(), note=note)
        elif now - self._last_line > _PLAIN_INTERVAL_SECONDS:
            self._line(note)

    def _left(self) -> str:
        """Return the time left in words; an empty text if unknown."""
        pace = self._pace.seconds_per_unit
        if self.total is None or pace is None or self.done >= self.total:
            return ""
        return f"{duration(pace * (self.total - self.done))} left"

    def _line(self, note: str = "") -> None:
        self._last_line = time.monotonic()
        if self._silent:
            return
        spent = duration(self._last_line - self._started)
        of_total = f"/{self.total}" if self.total is not None else ""
        left = f", {words}" if (words := self._left()) else ""
        tail = f"  {note}" if note else ""
        print(f"{self.description}: {self.done}{of_total} ({spent}{left}){tail}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time in words, in its two largest units.

    Examples
    --------
    >>> duration(42.4), duration(754), duration(100_000)
    ('42 s', '12 min 34 s', '27 h 46 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show the progress.

    Examples
    --------
    >>> list(track([1, 2, 3], "squares"))
    [1, 2, 3]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(description, total) as progress:
        for item in items:
            yield item
            progress.advance()


def _make_bar() -> RichProgress:
    return RichProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
