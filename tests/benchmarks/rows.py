"""One line of a benchmark: what was measured, what it should be, and what it is compared with."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class BenchRow:
    """A measured value.

    Parameters
    ----------
    name
        Starts with its room, as in ``features/catalog-1m-rows``.
    value
        None when nothing could be measured.
    goal, met
        None when none was set; `met` is whether `value` keeps to `goal`, as the room judges it.
    reference, reference_value
        The peer or the limit that the value is compared with, in words, and its value in the same unit.
    """

    name: str
    value: float | None
    unit: str
    goal: float | None = None
    met: bool | None = None
    reference: str = ""
    reference_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Value over the reference's value; None without one."""
        if self.value is None or not self.reference_value:
            return None
        return self.value / self.reference_value

    def record(self, *, command: str, commit: str) -> dict[str, object]:
        """JSON-ready form, with what it was measured by and on."""
        return {**asdict(self), "ratio": self.ratio, "command": command, "commit": commit}


def alternated_seconds(*calls: Callable[[], object], rounds: int) -> list[list[float]]:
    """Durations of each call, one a round; taken in turns, so that a busy machine burdens all alike."""
    durations: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, own in zip(calls, durations, strict=True):
            start = perf_counter()
            call()
            own.append(perf_counter() - start)
    return durations
