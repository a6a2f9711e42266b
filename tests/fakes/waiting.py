"""What happens in its own time is waited for, and no longer than it may take."""

import threading
from collections.abc import Callable
from time import monotonic

SECONDS = 60.0
_PAUSE_SECONDS = 0.05


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = SECONDS) -> None:
    """Look again and again; `what` is told when it did not come."""
    deadline, pause = monotonic() + seconds, threading.Event()
    while not holds():
        assert monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        pause.wait(_PAUSE_SECONDS)
