"""Progress of long work: a bar with the time left on a terminal, a plain line now and then when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
_PLAIN_INTERVAL_SECONDS = 10.0


class Progress:
    """Counts up to `total` and shows it on standard error.

    Parameters
    ----------
    description
        The name of the work.
    total
        The number of units, or None where it is not known.
    initial
        Units already done, for example by a run that is being resumed.
    silent
        Show nothing: another process tells of the same work.

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
        self._initial = initial
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar = _make_bar() if sys.stderr.isatty() and not silent else None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._last_line > self._started:
            self._line()

    def advance(self, units: int = 1, **values: float | str) -> None:
        """Count `units` more; `values` are shown beside the bar."""
        self.done += units
        note = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif time.monotonic() - self._last_line > _PLAIN_INTERVAL_SECONDS:
            self._line(note)

    def _line(self, note: str = "") -> None:
        self._last_line = time.monotonic()
        if self._silent:
            return
        spent = self._last_line - self._started
        of_total = f"/{self.total}" if self.total is not None else ""
        left = ""
        fresh = self.done - self._initial
        if self.total is not None and fresh > 0 and self.done < self.total:
            left = f", {spent / fresh * (self.total - self.done):.0f} s left"
        tail = f"  {note}" if note else ""
        print(f"{self.description}: {self.done}{of_total} ({spent:.0f} s{left}){tail}", file=sys.stderr, flush=True)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing how many are done.

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
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
