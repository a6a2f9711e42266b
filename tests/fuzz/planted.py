"""Two parsers with a bug each, which the fuzzer has to find: what it is worth is measured by them."""

import csv
import json
from math import isfinite

from fuzz.parsers import Parser


def _believing(data: bytes) -> int:
    """Let a price through that is no number."""
    try:
        rows = list(csv.DictReader(data.decode().splitlines(), strict=True))
        prices = [float(row["close"]) for row in rows]
    except (ValueError, KeyError, TypeError, csv.Error):
        return 0
    assert all(map(isfinite, prices))
    return len(prices)


def _trusting(data: bytes) -> int:
    """Take a field for granted, behind one that tells its kind."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    return len(str(told["p"])) if isinstance(told, dict) and told.get("e") == "trade" else 0


PLANTED = {
    "planted-nan": Parser(_believing, (b"timestamp,close\n1520000000,4.5\n1520086400,4.25\n",)),
    "planted-absent-field": Parser(_trusting, (b'{"e": "trade", "s": "BTCUSDT", "p": "4.5", "q": "2"}',)),
}
