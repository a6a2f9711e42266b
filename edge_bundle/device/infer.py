"""Infer: every five minutes a forecast of each symbol from the database, and what came of earlier ones."""

from dataclasses import dataclass
from datetime import datetime

from edge_bundle.candles import interval_duration
from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.settings import CLOCK_TOLERANCE
from edge_bundle.errors import WindowRefusedError
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

PROGRAM = "infer"


@dataclass(frozen=True, slots=True)
class Inferred:
    """Forecasts of one run, abstentions among them, and how many outcomes were joined."""

    forecasts: tuple[Forecast, ...]
    outcomes: int


def infer(
    database: DeviceDatabase, forecaster: Forecaster, *, now: datetime, stopped: str | None = None
) -> Inferred:
    """Forecast after the newest bar of each symbol, and keep it with the model that made it.

    Parameters
    ----------
    stopped
        Why the model has to be silent, so that each forecast abstains; None while it may speak.

    Raises
    ------
    WindowRefusedError
        When the database holds no bar yet, or the clock is before the newest one: how old it is, and so
        whether it may still be forecast from, cannot be said then.
    DatabaseRefusedError
        When it cannot be read or written.
    """
    manifest = forecaster.manifest
    step = interval_duration(manifest.interval)
    outcomes = database.join_outcomes(interval=step)
    closes = [extent[1] + step for symbol in manifest.symbols if (extent := database.extent(symbol))]
    if not closes:
        raise WindowRefusedError("the database holds no bar yet: let harvest run first")
    if max(closes) - now > CLOCK_TOLERANCE:
        raise WindowRefusedError(
            f"the clock says {now:%Y-%m-%d %H:%M:%S}, and a bar closed at {max(closes):%Y-%m-%d %H:%M:%S}: "
            "set the clock (timedatectl)"
        )
    candles = database.candles(manifest.symbols, bars=manifest.bars_needed)
    forecasts = forecaster.forecast(MarketWindow(candles), max(now, *closes))
    if stopped is not None:
        forecasts = tuple(forecast.stopped(stopped) for forecast in forecasts)
    for forecast in forecasts:
        database.add_forecast(forecast, made_at=now)
    return Inferred(forecasts, outcomes)
