"""Which processes live: by their number, and by when they began."""

import os
import subprocess
import sys
import time
from datetime import timedelta

from edge_bundle.processes import process_lives


def test_process_that_ended_lives_no_more() -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    assert not process_lives(int(gone.stdout))


def test_process_that_began_later_is_not_the_one_that_had_its_number() -> None:
    now = time.time()
    assert process_lives(os.getpid())
    assert process_lives(os.getpid(), since=now)
    assert not process_lives(os.getpid(), since=now - timedelta(days=365).total_seconds())
