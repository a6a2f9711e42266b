"""Command line of the bundle: forecast from candles on standard input, and self-test."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from edge_bundle.candles import read_candles_csv
from edge_bundle.errors import EdgeBundleError, WindowRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow


def main(arguments: list[str] | None = None) -> int:
    """Parse, build, hand over, translate one error."""
    options = _parser().parse_args(arguments)
    try:
        forecaster = Forecaster.load(options.folder)
        if options.command == "selftest":
            result = forecaster.selftest()
            sys.stdout.write(json.dumps(asdict(result)) + "\n")
            return 0 if result.passed else 1
        window = MarketWindow(read_candles_csv(sys.stdin.buffer))
        for forecast in forecaster.forecast(
            window, _time_of_asking(options.now, live=forecaster.manifest.live)
        ):
            sys.stdout.write(json.dumps(forecast.to_dict()) + "\n")
    except EdgeBundleError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge_bundle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    forecast = commands.add_parser(
        "forecast", help="candles as CSV on standard input, one JSON line a symbol"
    )
    forecast.add_argument("folder", type=Path)
    forecast.add_argument(
        "--now",
        help="time of asking: 'clock', 'data' (the newest bar's close), or ISO 8601; "
        "by default the clock for a live market and the data for another",
    )
    selftest = commands.add_parser("selftest", help="replay the bundle's golden rows on this machine")
    selftest.add_argument("folder", type=Path)
    return parser


def _time_of_asking(text: str | None, *, live: bool) -> datetime | None:
    if text is None:
        text = "clock" if live else "data"
    if text == "data":
        return None
    if text == "clock":
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WindowRefusedError(f"--now {text!r} is not clock, data or ISO 8601") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
