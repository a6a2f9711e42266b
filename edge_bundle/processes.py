"""Processes of this machine: whether one still lives, for who finds what it left."""

import os
from pathlib import Path

# By which a clock may be set forward while a process lives, which then seems to have begun later.
CLOCK_STEP_SECONDS = 60.0


def process_lives(process: int, *, since: float | None = None) -> bool:
    """Whether a process of this machine has not ended.

    Parameters
    ----------
    since
        Seconds since 1970 at which it lived: one that began later only has the same number. That is looked
        at where the system has ``/proc``.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    began = None if since is None else _process_began(process)
    return since is None or began is None or began <= since + CLOCK_STEP_SECONDS


def _process_began(process: int) -> float | None:
    """When a process began, in seconds since 1970; None where the system does not say.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, field 22.
    """
    try:
        own = Path(f"/proc/{process}/stat").read_text()
        booted = Path("/proc/stat").read_text().partition("\nbtime ")[2].partition("\n")[0]
    except OSError:
        return None
    # The name in brackets, which is the second field, may hold spaces.
    ticks = int(own.rpartition(")")[2].split()[19])
    return int(booted) + ticks / os.sysconf("SC_CLK_TCK")
