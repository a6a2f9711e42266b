"""Log lines: JSON, one a line, whatever a message holds."""

import io
import json
import logging

from cryptoai_serving.logs import LOGGER, json_logs


def test_line_breaks_and_signs_stay_inside_their_line() -> None:
    stream = io.StringIO()
    with json_logs(stream):
        logging.getLogger(f"{LOGGER}.x").info("two\nlines “ü”", extra={"request_id": 'a"b', "secret": "s"})
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["message"], told["request_id"], told["level"]) == ("two\nlines “ü”", 'a"b', "info")
    assert "secret" not in told


def test_failure_is_told_with_its_trace() -> None:
    stream = io.StringIO()
    with json_logs(stream):
        try:
            raise ZeroDivisionError("here")
        except ZeroDivisionError:
            logging.getLogger(LOGGER).exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError: here" in json.loads(line)["exception"]


def test_logger_is_afterwards_as_it_was() -> None:
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate, list(logger.handlers)
    with json_logs(io.StringIO()):
        assert not logger.propagate
    assert (logger.level, logger.propagate, logger.handlers) == before
