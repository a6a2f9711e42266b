"""Log lines as JSON, one a line, for people and programs; they hold no header, no body and no key."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

LOGGER = "cryptoai_serving"
_ENCODER = json.JSONEncoder(default=str)
# What a line may tell beside its message; whatever else a record holds stays out.
FIELDS = ("request_id", "route", "method", "status", "milliseconds", "key")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: text from outside cannot break it."""

    def format(self, record: logging.LogRecord) -> str:
        """Line without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line)


@contextmanager
def json_logs(stream: TextIO) -> Iterator[None]:
    """Write what the service logs to a stream, from INFO on, and nowhere else meanwhile."""
    logger, handler = logging.getLogger(LOGGER), logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()
