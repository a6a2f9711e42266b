"""Independent pieces of work on several cores, each on a thread, in libraries that release Python's lock.

The libraries' own threads meet at a barrier after every tree, and where a core is taken by somebody else all
of them spin until it is back. Whole pieces side by side never wait for each other, and their sums do not
depend on how many there are.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def side_by_side(pieces: Iterable[Callable[[], Result]], *, threads: int) -> list[Result]:
    """Run the pieces, `threads` at a time; their results in order, or the first error."""
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(piece) for piece in pieces]
        return [piece.result() for piece in running]
