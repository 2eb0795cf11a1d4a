"""Photos read ahead and written behind, in threads, while a model restores those between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from tfrecon.base import platforms

AHEAD, PIXELS = 32, 1 << 24
"""Photos, and pixels of them all, that wait for their turn. Larger photos are worked on alone."""

BEHIND = 8
"""Photos that wait to be written."""

Item = TypeVar("Item")
Read = TypeVar("Read")


def batches(
    todo: Sequence[Item], pixels: Callable[[Item], int], read: Callable[[Item], Read],
    most: Callable[[Read, Read | None], int],
) -> Iterator[list[tuple[int, Read]]]:  # fmt: skip
    """What `read` makes of all of `todo`, in threads, with its place there: in batches of the first
    that is left and of those behind it, of the next `AHEAD`, that can go with it.

    `pixels` tells the size of one before it is read; `most` how many make a batch with the first,
    and, given another, whether it is one of them. What fails is raised at its turn.
    """
    left = deque(enumerate(todo))
    coming: deque[tuple[int, int, Future[Read]]] = deque()

    def fill(in_hand: int) -> None:
        while left and len(coming) < AHEAD:
            place, item = left[0]
            waiting = in_hand + sum(size for _, size, _ in coming)
            size = pixels(item)
            if waiting and waiting + size > PIXELS:
                return
            left.popleft()
            coming.append((place, size, readers.submit(read, item)))

    readers = ThreadPoolExecutor(len(platforms.cores()))
    try:
        fill(0)
        while coming:
            place, size, head = coming.popleft()
            first = head.result()
            batch, limit = [(place, first)], most(first, None)
            for other in list(coming) if limit > 1 else ():
                if (
                    len(batch) < limit
                    and not other[2].exception()
                    and most(first, other[2].result())
                ):
                    batch.append((other[0], other[2].result()))
                    coming.remove(other)
            fill(size * len(batch))
            yield batch
            fill(0)
    finally:
        readers.shutdown(wait=False, cancel_futures=True)


class Behind(Generic[Item]):
    """Does `work` on items in threads, and tells `note`, in this one, which are done, in the order
    of their numbers, from 0 on, in which they may not come.

    Its block ends once all is done; what fails is raised at its turn, or there.
    """

    def __init__(self, work: Callable[[Item], None], note: Callable[[Item], None]) -> None:
        self._work, self._note = work, note
        self._turn, self._early = 0, dict[int, Item]()
        self._busy: deque[tuple[Item, Future[None]]] = deque()

    def put(self, number: int, item: Item, size: int) -> None:
        """Begins with an item of so many pixels as soon as all before it have come; then waits
        until at most `BEHIND` are left, and none where it is a large one."""
        self._early[number] = item
        while self._turn in self._early:
            item = self._early.pop(self._turn)
            self._turn += 1
            self._busy.append((item, self._writers.submit(self._work, item)))
        self.settle(0 if size > PIXELS else BEHIND)

    def settle(self, most: int = 0) -> None:
        """Waits until at most so many items are left."""
        while self._busy and (len(self._busy) > most or self._busy[0][1].done()):
            item, done = self._busy.popleft()
            done.result()
            self._note(item)

    def __enter__(self) -> Behind[Item]:
        self._writers = ThreadPoolExecutor(len(platforms.cores()))
        return self

    def __exit__(self, *failure: Any) -> None:
        try:
            self.settle()
        finally:
            self._writers.shutdown(cancel_futures=True)
