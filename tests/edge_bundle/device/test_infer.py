"""What the device forecasts is what the forecaster says, kept with its model, and joined with what came."""

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.installed_device import BARS, CLOSED, START, installed_device, walked_bars, with_bars

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_model
from edge_bundle.errors import WindowRefusedError
from edge_bundle.forecast import Abstention
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

MINUTE = timedelta(minutes=1)


@pytest.fixture
def forecaster(tmp_path: Path) -> Forecaster:
    return installed_model(installed_device(tmp_path)).forecaster


@pytest.fixture
def database(tmp_path: Path) -> DeviceDatabase:
    return with_bars(installed_device(tmp_path), walked_bars())


def test_forecast_is_that_of_all_the_candles_bit_for_bit(
    database: DeviceDatabase, forecaster: Forecaster
) -> None:
    done = infer(database, forecaster, now=CLOSED)
    assert done.forecasts == forecaster.forecast(MarketWindow(walked_bars()), CLOSED)
    assert all(forecast.abstention is None for forecast in done.forecasts)


def test_forecast_is_kept_with_the_model_that_made_it(
    database: DeviceDatabase, forecaster: Forecaster
) -> None:
    made = infer(database, forecaster, now=CLOSED).forecasts[0]
    kept = database.forecasts(made.symbol, newest=10)
    assert kept["bundle"].unique().to_list() == [forecaster.digest]
    assert kept["probability_up"].to_list() == [one.probability_up for one in made.horizons]
    assert kept["open_time"].unique().to_list() == [made.open_time]
    assert kept["return_bps"].null_count() == kept.height == len(made.horizons)


def test_forecasts_of_a_stopped_model_abstain_and_are_kept_so(
    database: DeviceDatabase, forecaster: Forecaster
) -> None:
    made = infer(database, forecaster, now=CLOSED, stopped="below even odds").forecasts
    assert {one.abstention for one in made} == {Abstention("stopped", "below even odds")}
    kept = database.forecasts(made[0].symbol, newest=10)
    assert kept["probability_up"].null_count() == kept.height > 0


def test_second_run_after_the_same_bar_changes_nothing(
    database: DeviceDatabase, forecaster: Forecaster
) -> None:
    made = infer(database, forecaster, now=CLOSED).forecasts[0]
    before = database.forecasts(made.symbol, newest=10)
    infer(database, forecaster, now=CLOSED + MINUTE)
    assert database.forecasts(made.symbol, newest=10).equals(before)


def test_outcome_is_joined_when_its_bar_is_there(tmp_path: Path, forecaster: Forecaster) -> None:
    bars = walked_bars(BARS + 60)
    database = with_bars(installed_device(tmp_path), bars.filter(bars["open_time"] < CLOSED))
    made = infer(database, forecaster, now=CLOSED).forecasts[0]
    later = bars.filter((bars["open_time"] >= CLOSED) & (bars["open_time"] < CLOSED + 20 * MINUTE))
    database.add_candles(later, source="test", now=CLOSED + 20 * MINUTE)
    assert database.join_outcomes(interval=MINUTE) > 0
    closes = dict(bars.filter(symbol=made.symbol).select("open_time", "close").iter_rows())
    for horizon, came in (
        database.forecasts(made.symbol, newest=10).select("horizon", "return_bps").iter_rows()
    ):
        at = made.open_time + horizon * MINUTE
        known = at < CLOSED + 20 * MINUTE
        assert came == (pytest.approx(1e4 * math.log(closes[at] / closes[made.open_time])) if known else None)


def test_forecast_takes_the_place_of_an_abstention_of_the_same_bar(
    tmp_path: Path, forecaster: Forecaster
) -> None:
    bars = walked_bars()
    held = bars.filter(~bars["open_time"].is_between(START + 200 * MINUTE, START + 294 * MINUTE))
    database = with_bars(installed_device(tmp_path), held)
    [first, *_] = infer(database, forecaster, now=CLOSED).forecasts
    assert first.abstention is not None
    kept = database.forecasts(first.symbol, newest=10)
    assert set(kept["abstention"]) == {first.abstention.reason}
    assert kept["probability_up"].null_count() == kept.height
    database.add_candles(bars, source="test", now=CLOSED)
    infer(database, forecaster, now=CLOSED)
    assert database.forecasts(first.symbol, newest=10)["abstention"].null_count() == kept.height


def test_old_bars_make_an_abstention(database: DeviceDatabase, forecaster: Forecaster) -> None:
    done = infer(database, forecaster, now=CLOSED + 5 * MINUTE)
    assert {forecast.abstention.reason for forecast in done.forecasts if forecast.abstention} == {
        "stale_data"
    }


def test_clock_behind_the_bars_makes_no_forecast(database: DeviceDatabase, forecaster: Forecaster) -> None:
    with pytest.raises(WindowRefusedError, match="set the clock"):
        infer(database, forecaster, now=CLOSED - timedelta(days=1))
    assert infer(database, forecaster, now=CLOSED - timedelta(seconds=2)).forecasts


def test_empty_database_is_told(tmp_path: Path, forecaster: Forecaster) -> None:
    with pytest.raises(WindowRefusedError, match="let harvest run first"):
        infer(DeviceDatabase(tmp_path / "empty.db"), forecaster, now=CLOSED)


def test_share_in_range_counts_the_returns_that_lay_in_it(
    database: DeviceDatabase, forecaster: Forecaster
) -> None:
    """Of six forecasts one names a range around what came, two ranges below it and three above it."""
    [made, _] = forecaster.forecast(MarketWindow(walked_bars()), CLOSED)
    for back, (lower, upper) in enumerate(((-1e4, 1e4), *[(-1e4, -9e3)] * 2, *[(9e3, 1e4)] * 3)):
        horizons = tuple(replace(one, lower_bps=lower, upper_bps=upper) for one in made.horizons)
        time = made.open_time - (back + made.horizons[-1].horizon_bars) * MINUTE
        database.add_forecast(replace(made, open_time=time, horizons=horizons), made_at=CLOSED)
    assert database.join_outcomes(interval=MINUTE) == 6 * len(made.horizons)
    assert [record.inside for record in database.records(made.symbol)] == [pytest.approx(1 / 6)] * 3
