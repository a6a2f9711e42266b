"""Replay parity: what was served from real bars is made again, and each planted skew is found and named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from fakes.mortal_desk import MODEL
from fakes.postgresql_server import postgresql_address
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import TINY_FEATURES, walk_candles

from cryptoai_assets.defs.monitoring.assets import replayed_forecasts
from cryptoai_assets.defs.monitoring.checks import served_forecasts_replay_the_same
from cryptoai_assets.defs.monitoring.sensors import failed_checks_are_told
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market_data import REFILLED
from cryptoai_assets.lib.monthly_features import known_window, month_features
from cryptoai_assets.lib.replay import Difference, replayed, sentence, served_forecasts, trained_otherwise
from cryptoai_serving.forecast_log import ForecastLog, LoggedForecast, Origin
from edge_bundle.alerts import Outbox
from edge_bundle.facts import FACT_SCHEMA, empty_facts
from edge_bundle.forecast import Abstention, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

BAR = timedelta(minutes=30)
SYMBOLS = ["BTCUSD", "ETHUSD"]
MONTH = datetime(2019, 3, 1, tzinfo=UTC)
CANDLES = walk_candles(SYMBOLS, bars=400, interval="30m", seed=5, start=MONTH)
SERVED_BARS = 3
Changed = Callable[[Forecast], Forecast]


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    """Market with two hundred hours in the store, and a released bundle."""
    market = MarketResource(name="sample", root=str(tmp_path), time="2019-03-20T00:00:00+00:00")
    keep(market.home, CANDLES)
    release_tiny_bundle(market.home.releases, version=1, seed=4)
    return market


def keep(home: Home, candles: pl.DataFrame, facts: pl.DataFrame | None = None) -> None:
    for (symbol,), own in candles.partition_by("symbol", as_dict=True).items():
        home.stores.clean_candles.write(str(symbol), "2019-03", own)
        said = empty_facts() if facts is None else facts.filter(symbol=symbol)
        home.stores.clean_facts.write(str(symbol), "2019-03", said)


def serve(
    home: Home,
    candles: pl.DataFrame,
    changed: Changed = lambda forecast: forecast,
    *,
    origin: Origin = "store",
    before: timedelta = timedelta(),
) -> None:
    """Answer after each of the last bars, or of earlier ones, from bars that the service had, and log it."""
    forecaster = Forecaster.load(home.releases / MODEL / "versions" / "1")
    ends = candles["open_time"].unique().sort().tail(SERVED_BARS) - before
    with ForecastLog(home.forecasts_database) as log:
        for end in ends:
            window = MarketWindow(candles.filter(pl.col("open_time") <= end))
            log.write(
                [
                    LoggedForecast(
                        changed(forecast), 1, "champion", origin, end + BAR + BAR / 10, 1.0, f"{end}"
                    )
                    for forecast in forecaster.forecast(window)
                ]
            )


def differences(home: Home) -> set[tuple[str, str]]:
    """What differs first, by symbol."""
    found = replayed(home, served_forecasts(home)).filter(status="differs")
    return set(found.select("symbol", "differing").rows())


def refilled(slot: datetime, known_at: datetime) -> pl.DataFrame:
    return pl.DataFrame([("ETHUSD", slot, known_at, "test", REFILLED, 1.0)], schema=FACT_SCHEMA, orient="row")


def test_what_was_served_from_the_stored_bars_replays_the_same(market: MarketResource) -> None:
    serve(market.home, CANDLES)
    found = replayed(market.home, served_forecasts(market.home))
    assert found["status"].to_list() == ["same"] * (SERVED_BARS * len(SYMBOLS))
    assert sentence(found) == "6 served forecasts are the same when they are made again"


def test_forecasts_that_were_logged_in_postgresql_replay_the_same_and_take_their_outcomes(
    market: MarketResource,
) -> None:
    with postgresql_address() as address:
        home = replace(market.home, forecast_log=address)
        serve(home, CANDLES)
        assert replayed(home, served_forecasts(home))["status"].to_list() == ["same"] * 6
        known = served_forecasts(home)[0].known_at
        with ForecastLog(home.forecasts_database) as log:
            happened = {"symbol": "BTCUSD", "known_at": [known], "horizon_bars": 1, "return_bps": 2.5}
            log.write_outcomes(MODEL, pl.DataFrame(happened))
            assert log.outcomes(model=MODEL)["return_bps"].to_list() == [2.5]
    assert not (home.root / "data" / "forecasts.db").exists()


def test_forecasts_of_long_ago_and_of_candles_in_a_request_are_not_made_again(market: MarketResource) -> None:
    serve(market.home, CANDLES, before=timedelta(hours=5))
    assert len(served_forecasts(market.home)) == SERVED_BARS * len(SYMBOLS)
    serve(market.home, CANDLES)
    serve(market.home, CANDLES, origin="request", before=BAR)
    drawn = served_forecasts(market.home)
    ends = CANDLES["open_time"].unique().sort().tail(SERVED_BARS)
    assert {(one.symbol, one.open_time) for one in drawn} == {
        (symbol, end) for symbol in SYMBOLS for end in ends
    }
    assert len(drawn) == SERVED_BARS * len(SYMBOLS)


def test_window_of_a_time_holds_no_fact_that_came_later(market: MarketResource) -> None:
    slot = CANDLES["open_time"].max() - 4 * BAR
    keep(market.home, CANDLES, refilled(slot, slot + timedelta(days=1)))
    known = [
        known_window(
            market.home, TINY_FEATURES, symbols=("ETHUSD",), since=MONTH, until=slot, at=slot + later
        ).facts.height
        for later in (BAR, timedelta(days=1))
    ]
    assert known == [0, 1]


@pytest.mark.parametrize("skewed", TINY_FEATURES)
def test_feature_that_serving_computes_otherwise_is_named(market: MarketResource, skewed: str) -> None:
    def with_another_revision(forecast: Forecast) -> Forecast:
        assert forecast.newest_input is not None
        values = np.frombuffer(forecast.newest_input, "<f4").copy()
        values[TINY_FEATURES.index(skewed)] *= np.float32(1.001)
        return replace(
            forecast,
            newest_input=values.tobytes(),
            input_sha256=f"planted {forecast.symbol} {forecast.known_at}",
        )

    serve(market.home, CANDLES, with_another_revision)
    assert differences(market.home) == {("BTCUSD", skewed), ("ETHUSD", skewed)}


def test_output_that_is_another_one_from_the_same_input_is_named(market: MarketResource) -> None:
    def surer(forecast: Forecast) -> Forecast:
        *others, last = forecast.horizons
        assert last.probability_up is not None
        return replace(
            forecast, horizons=(*others, replace(last, probability_up=np.nextafter(last.probability_up, 1)))
        )

    serve(market.home, CANDLES, surer)
    assert {differing for _, differing in differences(market.home)} == {"probability_up at 6 bars"}


def test_answer_in_place_of_an_abstention_is_named(market: MarketResource) -> None:
    def silent(forecast: Forecast) -> Forecast:
        return replace(
            forecast, abstention=Abstention("too_many_gaps", "planted"), input_sha256=None, newest_input=None
        )

    serve(market.home, CANDLES, silent)
    assert differences(market.home) == {("BTCUSD", "abstention"), ("ETHUSD", "abstention")}


def test_bar_that_was_served_and_came_late_to_the_store_is_found(market: MarketResource) -> None:
    slot = CANDLES["open_time"].max() - 4 * BAR
    keep(market.home, CANDLES, refilled(slot, slot + timedelta(days=1)))
    serve(market.home, CANDLES)
    found = replayed(market.home, served_forecasts(market.home)).filter(status="differs")
    assert set(found["symbol"]) == {"ETHUSD"}
    assert set(found["late"]) == {
        f"refilled: ETHUSD {slot:%Y-%m-%d %H:%M}, known at {slot + timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    }
    assert f"({found['late'][0]})" in sentence(found)


def test_newest_bar_that_the_store_did_not_know_yet_is_found(market: MarketResource) -> None:
    slot = CANDLES["open_time"].max()
    keep(market.home, CANDLES, refilled(slot, slot + timedelta(days=1)))
    serve(market.home, CANDLES)
    assert differences(market.home) == {("ETHUSD", "bar")}


def test_bar_that_came_between_its_close_and_the_question_may_be_served(market: MarketResource) -> None:
    slot = CANDLES["open_time"].max()
    keep(market.home, CANDLES, refilled(slot, slot + BAR + BAR / 20))
    serve(market.home, CANDLES)
    assert differences(market.home) == set()


def test_revision_that_only_the_store_knows_is_found_and_named(market: MarketResource) -> None:
    newest = pl.col("open_time") == pl.col("open_time").max()
    keep(
        market.home,
        CANDLES.with_columns(pl.when(newest).then(pl.col("high") + 1).otherwise("high").alias("high")),
    )
    serve(market.home, CANDLES)
    assert differences(market.home) == {("BTCUSD", "close_location"), ("ETHUSD", "close_location")}


def test_forecast_waits_while_its_bar_is_not_stored_and_one_of_a_bundle_that_is_gone_is_left(
    market: MarketResource,
) -> None:
    serve(market.home, CANDLES)
    keep(market.home, CANDLES.filter(pl.col("open_time") < pl.col("open_time").max()))
    found = replayed(market.home, served_forecasts(market.home))
    assert found["status"].to_list() == ["same"] * 4 + ["not_stored_yet"] * 2
    assert sentence(found).endswith("; 2 cannot be made again yet, or no more")
    release_tiny_bundle(market.home.releases, version=1, seed=5)
    assert set(replayed(market.home, served_forecasts(market.home))["status"]) == {"bundle_gone"}


def test_training_path_that_computes_a_feature_otherwise_is_named(market: MarketResource) -> None:
    serve(market.home, CANDLES)
    one = served_forecasts(market.home)[0]
    rows = month_features(market.home, one.symbol, "2019-03", TINY_FEATURES)
    assert trained_otherwise(one, rows, TINY_FEATURES) is None
    for feature in TINY_FEATURES:
        skewed = rows.with_columns(pl.col(feature) * 1.001)
        unknown = rows.with_columns(pl.lit(None, pl.Float64).alias(feature))
        for otherwise in (skewed, unknown):
            found = trained_otherwise(one, otherwise, TINY_FEATURES)
            assert found is not None
            assert found.differing == feature
    before = rows.filter(pl.col("open_time") < one.open_time)
    assert trained_otherwise(one, before, TINY_FEATURES) == Difference(
        "bar", "answered", "the training path has no such bar"
    )


def test_replay_is_an_asset_whose_failing_check_reaches_the_outbox(market: MarketResource) -> None:
    serve(
        market.home,
        CANDLES,
        lambda forecast: replace(
            forecast, input_sha256=f"planted {forecast.symbol} {forecast.known_at}", newest_input=None
        ),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [replayed_forecasts, served_forecasts_replay_the_same],
            resources={"market": market},
            instance=instance,
            selection=dg.AssetSelection.assets(replayed_forecasts).without_checks()
            | dg.AssetSelection.checks(served_forecasts_replay_the_same),
        )
        [check] = result.get_asset_check_evaluations()
        assert not check.passed
        failed_checks_are_told(
            dg.build_sensor_context(
                instance=instance, resources={"market": market, "alerts": AlertsResource()}
            )
        )
    [alert] = Outbox(market.home.alerts_database).alerts()
    assert "6 of 6 served forecasts differ when they are made again; first input of BTCUSD" in str(
        alert.facts
    )


def test_nothing_that_was_served_is_no_failure(market: MarketResource) -> None:
    assert sentence(replayed(market.home, served_forecasts(market.home))) == (
        "0 served forecasts are the same when they are made again"
    )
