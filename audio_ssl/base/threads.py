"""Work in background threads: results in the order of the work, and a cache of the latest."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


def background_pool(workers: int) -> ThreadPoolExecutor:
    """Return threads that decode and run teachers, each with one core of torch's.

    Beside a training step on all cores, a second team of threads would only take turns with the first: on two cores
    that is ten times slower than one thread. It also makes targets the same numbers whatever the machine has.
    """
    # Asking fixes the number of the thread that asks, before the new threads set their own.
    torch.get_num_threads()
    return ThreadPoolExecutor(max(1, workers), "decode", initializer=torch.set_num_threads, initargs=(1,))


def in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], ahead: int = 16) -> Iterator[B]:
    """Yield the results of `work` in the order of `items`, with at most `ahead` of them waiting."""
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class LruCache(Generic[T]):
    """Keeps the values used last, up to a number of bytes; safe to use from several threads."""

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._max_bytes, self._size = max_bytes, size
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`, made if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self.bytes += self._size(value)
                while self.bytes > self._max_bytes and self._values:
                    self.bytes -= self._size(self._values.popitem(last=False)[1])
        return value
