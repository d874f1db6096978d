"""A stop asked for by a signal, or because the time is over: the update in work is finished and saved first."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

TIME_IS_UP = 1
"""What `StopRequest.asked` gives when the time is over; below the number of every signal listened to, as a signal is
the more urgent."""


class StopRequest:
    """While open, SIGTERM, SIGUSR1 and Ctrl-C set `signal_name` instead of ending the program.

    A second signal interrupts at once. Outside the main thread, where Python allows no handlers, nothing is changed.

    Parameters
    ----------
    deadline
        By `time.monotonic`, when the time is over; None: never.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.signal_name: str | None = None
        self._deadline = deadline
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> int:
        """Return the number of the signal that came, `TIME_IS_UP`, or 0 where nothing asks for a stop."""
        if self.signal_name is not None:
            return signal.Signals[self.signal_name].value
        return TIME_IS_UP if self._deadline is not None and time.monotonic() >= self._deadline else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
