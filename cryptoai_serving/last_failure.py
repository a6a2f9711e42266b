"""A release that failed is not read again at once: that costs, and its files are not repaired so soon."""

from collections.abc import Callable
from datetime import datetime, timedelta

from edge_bundle.releases import ReleasedVersion

# A release that failed is tried again after this time: its folder may have been repaired.
RETRY_AFTER = timedelta(seconds=5)


class LastFailure:
    """The version that failed last, and when; None before the first, and for one that is not known."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._version: ReleasedVersion | None = None
        self._at: datetime | None = None

    def keep(self, version: ReleasedVersion | None) -> None:
        """Remember that a version failed now."""
        self._version, self._at = version, self._clock()

    def is_recent(self, version: ReleasedVersion) -> bool:
        """Whether this version failed less than `RETRY_AFTER` ago."""
        return self._at is not None and version == self._version and self._clock() - self._at < RETRY_AFTER
