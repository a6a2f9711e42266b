"""A key that opens all and is never at its limit, which is counted all the same."""

from datetime import UTC, datetime
from pathlib import Path

from cryptoai_serving.keys import SCOPES, add_key, new_key

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def made_key(path: Path) -> str:
    """Put it into a file of keys."""
    token, kept = new_key(label="test", scopes=SCOPES, created_at=MADE_AT, requests_a_minute=10**7)
    add_key(path, kept)
    return token
