"""Background threads: items prepared in advance, results in the order of their items, and a cache."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


def background_pool(workers: int) -> ThreadPoolExecutor:
    """Return threads for decoding and teachers, each with one thread of torch.

    Beside a training step on all cores, a second team of torch threads would compete with the first: on two cores that
    is ten times slower than one thread. With one thread, targets also do not depend on the number of cores.
    """
    # This call fixes the number of the calling thread, before the new threads set their own.
    torch.get_num_threads()
    return ThreadPoolExecutor(max(1, workers), "decode", initializer=torch.set_num_threads, initargs=(1,))


def in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], ahead: int = 16) -> Iterator[B]:
    """Yield the results of `work` in the order of `items`, with at most `ahead` results waiting."""
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


class MadeAhead(Generic[T]):
    """Prepares items in a thread, a few ahead of the consumer; a context manager.

    An error in the thread is raised in place of the item.

    Parameters
    ----------
    items
        Items; they are iterated in the thread only.
    ahead
        Maximum number of waiting items.
    """

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="made ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
            self._put(None)
        except BaseException as error:  # passed to the consumer, which raises it
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        """Wait for space in the queue; return False if the consumer has stopped."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


class LruCache(Generic[T]):
    """Keeps the most recently used values, up to a number of bytes; thread-safe."""

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._max_bytes, self._size = max_bytes, size
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`, which is created if it is missing."""
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
