"""The forecaster: what it refuses by name, when it abstains and why, and the same bits from any history."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.tiny_bundle import TINY_FEATURES, walk_candles, write_tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_bundle.candles import PRICE_COLUMNS, bar_grid, newest_bars
from edge_bundle.errors import (
    BundleRefusedError,
    CandlesRefusedError,
    EdgeBundleError,
    FactsRefusedError,
    WindowRefusedError,
)
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.forecast import VALUE_NAMES, Abstention, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, Manifest, bundle_digest, file_sha256
from edge_bundle.windows import MarketWindow, model_input

BAR = timedelta(minutes=30)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"), seed=1)


@pytest.fixture(scope="module")
def forecaster(bundle: Path) -> Forecaster:
    return Forecaster.load(bundle)


@pytest.fixture(scope="module")
def whole_catalog(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """Reads every feature over three bars."""
    folder = tmp_path_factory.mktemp("catalog")
    return Forecaster.load(write_tiny_bundle(folder, features=tuple(catalog()), lookback=3, seed=2))


@pytest.fixture
def own_bundle(tmp_path: Path) -> Path:
    """A bundle that the test may spoil."""
    return write_tiny_bundle(tmp_path / "bundle", seed=1)


def candles(bars: int = 40, symbols: tuple[str, ...] = ("BTCUSD",), interval: str = "30m") -> pl.DataFrame:
    return walk_candles(symbols, bars=bars, interval=interval, seed=4)


def no_trade(slots: pl.DataFrame) -> pl.DataFrame:
    return slots.select(
        "symbol",
        event_time="open_time",
        known_at=pl.col("open_time") + BAR,
        source=pl.lit("venue"),
        name=pl.lit(NO_TRADE),
        value=pl.lit(1.0),
    ).select(*FACT_SCHEMA)


def closed(frame: pl.DataFrame) -> datetime:
    newest: datetime = frame["open_time"].to_list()[-1]
    return newest + BAR


def only(forecasts: tuple[Forecast, ...]) -> Forecast:
    (forecast,) = forecasts
    return forecast


def abstention(forecast: Forecast) -> Abstention:
    """Why it abstains; an abstention gives no value."""
    assert forecast.abstention is not None
    assert {getattr(horizon, name) for horizon in forecast.horizons for name in VALUE_NAMES} == {None}
    return forecast.abstention


# --- loading


def test_bundle_with_a_changed_file_is_refused_by_the_file_name(own_bundle: Path) -> None:
    with (own_bundle / GRAPH_NAME).open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(BundleRefusedError, match=f"{GRAPH_NAME} has SHA-256"):
        Forecaster.load(own_bundle)


def test_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match="it is not a bundle"):
        Forecaster.load(tmp_path / "nowhere")


def test_bundle_made_by_other_features_is_refused_with_both_fingerprints(own_bundle: Path) -> None:
    manifest = Manifest.read(own_bundle)
    replace(manifest, feature_fingerprint="f" * 64).write(own_bundle)
    with pytest.raises(
        BundleRefusedError, match=rf"{manifest.feature_fingerprint[:12]}….*f{{12}}….*train anew"
    ):
        Forecaster.load(own_bundle)


def test_bundle_with_other_warmups_is_refused(own_bundle: Path) -> None:
    replace(Manifest.read(own_bundle), warmups=(1, 5, 0, 14)).write(own_bundle)
    with pytest.raises(BundleRefusedError, match="fingerprint"):
        Forecaster.load(own_bundle)


def test_bundle_with_a_feature_that_this_code_lacks_is_refused_by_its_name(own_bundle: Path) -> None:
    replace(Manifest.read(own_bundle), features=(*TINY_FEATURES[:-1], "crystal_ball")).write(own_bundle)
    with pytest.raises(BundleRefusedError, match="crystal_ball"):
        Forecaster.load(own_bundle)


# --- refusals


@pytest.mark.parametrize(
    ("window", "refusal", "named"),
    [
        (
            MarketWindow(candles(symbols=("BTCUSD", "DOGEUSD"))),
            WindowRefusedError,
            "not in this bundle: DOGEUSD;",
        ),
        (MarketWindow(candles(interval="1h")), WindowRefusedError, "BTCUSD are 1:00:00 apart.*30m bars"),
        (MarketWindow(candles(interval="1d")), WindowRefusedError, "BTCUSD are 1 day, 0:00:00 apart"),
        (MarketWindow(candles(interval="5m")), CandlesRefusedError, "00:05:00 UTC does not open on the 30m"),
        (MarketWindow(candles().clear()), WindowRefusedError, "holds no candle; 16 a symbol needed"),
        (MarketWindow(candles().reverse()), CandlesRefusedError, "out of order"),
        (MarketWindow(candles().drop("volume")), CandlesRefusedError, "schema"),
        (MarketWindow(candles(), empty_facts().drop("value")), FactsRefusedError, "schema"),
    ],
)
def test_window_that_does_not_fit_is_refused_by_name(
    forecaster: Forecaster, window: MarketWindow, refusal: type[EdgeBundleError], named: str
) -> None:
    with pytest.raises(refusal, match=named):
        forecaster.forecast(window)


def test_bar_that_has_not_closed_is_refused_by_its_time(forecaster: Forecaster) -> None:
    frame = candles(40)
    just_closed = closed(frame)
    assert only(forecaster.forecast(MarketWindow(frame), just_closed)).abstention is None
    with pytest.raises(
        WindowRefusedError, match=r"the bar of 2019-01-01 19:30 UTC closes at 20:00, after now"
    ):
        forecaster.forecast(MarketWindow(frame), just_closed - timedelta(microseconds=1))


# --- abstentions


def test_fact_that_the_bundle_requires_is_abstained_on_by_name(own_bundle: Path) -> None:
    replace(Manifest.read(own_bundle), facts={"active_addresses": 86_400}).write(own_bundle)
    abstention = only(Forecaster.load(own_bundle).forecast(MarketWindow(candles()))).abstention
    assert abstention is not None
    assert abstention.reason == "missing_facts"
    assert abstention.detail == "facts that the bundle requires are absent: active_addresses"


def test_stale_data_is_abstained_on_after_two_intervals(forecaster: Forecaster) -> None:
    frame = candles()
    at_the_limit = only(forecaster.forecast(MarketWindow(frame), closed(frame) + 2 * BAR))
    assert at_the_limit.abstention is None
    late = only(forecaster.forecast(MarketWindow(frame), closed(frame) + 2 * BAR + timedelta(seconds=1)))
    assert abstention(late).reason == "stale_data"
    assert "1:00:01 before now; at most 1:00:00" in abstention(late).detail


def test_symbol_that_fell_behind_the_others_is_stale_in_a_replay(forecaster: Forecaster) -> None:
    both = candles(40, symbols=("BTCUSD", "ETHUSD"))
    last = both["open_time"].max()
    behind = both.filter((pl.col("symbol") == "BTCUSD") | (pl.col("open_time") < pl.lit(last) - 2 * BAR))
    bitcoin, ether = forecaster.forecast(MarketWindow(behind))
    assert bitcoin.abstention is None
    assert abstention(ether).reason == "stale_data"


def test_one_bar_too_few_is_abstained_on_with_both_numbers(forecaster: Forecaster) -> None:
    needed = forecaster.manifest.bars_needed
    assert only(forecaster.forecast(MarketWindow(candles(needed)))).abstention is None
    few = abstention(only(forecaster.forecast(MarketWindow(candles(needed - 1)))))
    assert few == Abstention("too_few_bars", f"{needed - 1} bars given, {needed} needed")


def test_hole_within_the_bars_needed_is_abstained_on(forecaster: Forecaster) -> None:
    needed, frame = forecaster.manifest.bars_needed, candles(60)
    bars = pl.int_range(pl.len())
    holed = frame.filter(~bars.is_between(60 - needed - 3, 60 - needed))
    gaps = abstention(only(forecaster.forecast(MarketWindow(holed))))
    assert gaps == Abstention("too_many_gaps", f"{needed - 1} bars since the last hole, {needed} needed")
    earlier = frame.filter(~bars.is_between(60 - needed - 4, 60 - needed - 1))
    assert only(forecaster.forecast(MarketWindow(earlier))).abstention is None


def test_more_bridged_bars_than_one_in_twenty_are_abstained_on(whole_catalog: Forecaster) -> None:
    needed = whole_catalog.manifest.bars_needed
    frame, bars = candles(needed), pl.int_range(pl.len())
    some = int(needed * 0.05) // 3
    bridged = frame.filter(~((bars % 10 < 3) & bars.is_between(20, 20 + 10 * some - 1)))
    assert frame.height - bridged.height == 3 * some
    assert only(whole_catalog.forecast(MarketWindow(bridged))).abstention is None
    many = frame.filter(~((bars % 10 < 3) & bars.is_between(20, 20 + 10 * (some + 1) - 1)))
    gaps = abstention(only(whole_catalog.forecast(MarketWindow(many))))
    assert gaps.reason == "too_many_gaps"
    assert f"{3 * (some + 1)} of the last {needed} bars are missing ones" in gaps.detail


def test_bars_that_nobody_traded_are_no_gap(forecaster: Forecaster) -> None:
    frame = candles(60)
    quiet = frame.slice(45, 15)
    window = MarketWindow(frame.head(45), no_trade(quiet))
    forecast = only(forecaster.forecast(window))
    assert forecast.abstention is None
    assert forecast.known_at == closed(frame)


def test_bar_outside_the_training_range_is_abstained_on(forecaster: Forecaster) -> None:
    frame = candles(40)
    last = pl.int_range(pl.len()) == pl.len() - 1
    crash = frame.with_columns(
        pl.when(last).then(pl.col("close") / 2).otherwise("close").alias("close"),
        pl.when(last).then(pl.col("low") / 2).otherwise("low").alias("low"),
    )
    forecast = only(forecaster.forecast(MarketWindow(crash)))
    outside = abstention(forecast)
    assert outside.reason == "outside_training_range"
    assert "% of the features lie outside the training range, at most 10.0% may" in outside.detail
    assert forecast.input_sha256 is not None


# --- answers


def test_forecast_says_what_it_is_and_survives_json(forecaster: Forecaster, bundle: Path) -> None:
    frame = candles(40, symbols=("ETHUSD", "BTCUSD"))
    forecasts = forecaster.forecast(MarketWindow(frame))
    assert [forecast.symbol for forecast in forecasts] == ["BTCUSD", "ETHUSD"]
    for forecast in forecasts:
        assert forecast.known_at == forecast.open_time + BAR == closed(frame)
        assert forecast.bundle == bundle_digest(bundle) == forecaster.digest
        assert [horizon.horizon_bars for horizon in forecast.horizons] == [1, 2, 6]
        for horizon in forecast.horizons:
            assert horizon.lower_bps is not None
            assert horizon.expected_return_bps is not None
            assert horizon.upper_bps is not None
            assert horizon.lower_bps < horizon.expected_return_bps < horizon.upper_bps
        assert Forecast.from_dict(json.loads(json.dumps(forecast.to_dict()))) == forecast


def test_abstention_survives_json(forecaster: Forecaster) -> None:
    forecast = only(forecaster.forecast(MarketWindow(candles(3))))
    assert Forecast.from_dict(json.loads(json.dumps(forecast.to_dict()))) == forecast


def test_forecast_is_the_output_of_the_graph_on_the_features_of_the_last_bars(
    whole_catalog: Forecaster,
) -> None:
    frame = candles(whole_catalog.manifest.bars_needed)
    grid = bar_grid(frame, interval="30m", max_missing_bars=3)
    names = whole_catalog.manifest.features
    newest = model_input(feature_frame(grid, names), names, lookback=3, bar=BAR)
    outputs = whole_catalog.outputs(newest.values)
    forecast = only(whole_catalog.forecast(MarketWindow(frame)))
    assert forecast.input_sha256 == newest.input_sha256(0)
    for column, horizon in enumerate(forecast.horizons):
        for name in VALUE_NAMES:
            assert getattr(horizon, name) == outputs[name][0, column]


@settings(max_examples=25)
@given(earlier=st.integers(1, 400), seed=st.integers(0, 3))
def test_longer_history_gives_the_same_bits(whole_catalog: Forecaster, earlier: int, seed: int) -> None:
    needed = whole_catalog.manifest.bars_needed
    frame = walk_candles(("BTCUSD",), bars=needed + earlier, interval="30m", seed=seed)
    wild = pl.int_range(pl.len()) < earlier
    changed = frame.with_columns(
        *(pl.when(wild).then(pl.col(name) * 1000).otherwise(name).alias(name) for name in PRICE_COLUMNS)
    )
    wanted = whole_catalog.forecast(MarketWindow(frame.tail(needed)))
    assert whole_catalog.forecast(MarketWindow(frame)) == wanted
    assert whole_catalog.forecast(MarketWindow(changed)) == wanted


def test_symbol_has_the_same_bits_alone_and_among_others(forecaster: Forecaster) -> None:
    both = candles(40, symbols=("BTCUSD", "ETHUSD"))
    alone = [
        only(forecaster.forecast(MarketWindow(both.filter(pl.col("symbol") == symbol))))
        for symbol in ("BTCUSD", "ETHUSD")
    ]
    assert list(forecaster.forecast(MarketWindow(both))) == alone


def test_newer_bar_changes_the_input(forecaster: Forecaster) -> None:
    frame = candles(40)
    before = only(forecaster.forecast(MarketWindow(frame.head(39))))
    after = only(forecaster.forecast(MarketWindow(frame)))
    assert before.input_sha256 != after.input_sha256


# --- self-test


def planted(folder: Path, **arrays: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Forecaster:
    """The bundle with other golden arrays, vouched for by its manifest."""
    with np.load(folder / GOLDEN_NAME) as archive:
        golden = dict(archive) | arrays
    np.savez(folder / GOLDEN_NAME, allow_pickle=False, **golden)
    manifest = Manifest.read(folder)
    files = {**manifest.files, GOLDEN_NAME: file_sha256(folder / GOLDEN_NAME)}
    replace(manifest, files=files).write(folder)
    return Forecaster.load(folder)


def golden(folder: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.load(folder / GOLDEN_NAME) as archive:
        array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = archive[name]
    return array


def test_untouched_bundle_passes_its_selftest_without_a_difference(whole_catalog: Forecaster) -> None:
    result = whole_catalog.selftest()
    assert result.passed
    assert result.rows > 0
    assert result.largest_difference == 0
    assert result.largest_feature_difference == 0


@pytest.mark.parametrize("name", VALUE_NAMES)
@pytest.mark.parametrize("planted_value", [1.0, float("nan")])
def test_selftest_finds_one_changed_output(own_bundle: Path, name: str, planted_value: float) -> None:
    outputs = golden(own_bundle, name).copy()
    outputs[5, 0] += planted_value
    result = planted(own_bundle, **{name: outputs}).selftest()
    assert not result.passed
    assert not result.largest_difference <= result.tolerance


def test_selftest_finds_a_member_that_says_something_else(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", members=("xgboost",), seed=1)
    assert Forecaster.load(bundle).selftest().passed
    other = golden(bundle, "xgboost/probability_up") + 0.1
    assert not planted(bundle, **{"xgboost/probability_up": other}).selftest().passed


def test_selftest_finds_a_feature_that_is_computed_otherwise(own_bundle: Path) -> None:
    features = golden(own_bundle, "candle_window").copy()
    features[0, 0, 3] *= 1 + 1e-2
    result = planted(own_bundle, candle_window=features).selftest()
    assert not result.passed
    assert result.largest_difference == 0
    assert result.largest_feature_difference > 1e-6


def test_selftest_finds_another_graph(own_bundle: Path, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / "other", seed=2)
    (own_bundle / GRAPH_NAME).write_bytes((other / GRAPH_NAME).read_bytes())
    manifest = Manifest.read(own_bundle)
    files = {**manifest.files, GRAPH_NAME: file_sha256(own_bundle / GRAPH_NAME)}
    replace(manifest, files=files).write(own_bundle)
    assert not Forecaster.load(own_bundle).selftest().passed


def test_message_of_a_refusal_holds_no_newline(forecaster: Forecaster) -> None:
    with pytest.raises(WindowRefusedError) as refused:
        forecaster.forecast(MarketWindow(candles(symbols=("DOGEUSD",))))
    assert re.fullmatch(r"[^\n]+", str(refused.value))


def test_bundle_that_reads_bitcoin_forecasts_with_it_and_abstains_without_it(tmp_path: Path) -> None:
    names = ("log_return_1", "bitcoin_return_lag_1", "bitcoin_beta_60")
    forecaster = Forecaster.load(write_tiny_bundle(tmp_path / "bundle", features=names, seed=3))
    assert forecaster.selftest().passed
    both = walk_candles(("BTCUSD", "ETHUSD"), bars=forecaster.manifest.bars_needed, interval="30m", seed=4)
    assert [forecast.abstention for forecast in forecaster.forecast(MarketWindow(both))] == [None, None]
    [alone] = forecaster.forecast(MarketWindow(both.filter(pl.col("symbol") == "ETHUSD")))
    assert alone.abstention is not None
    assert alone.abstention.reason == "missing_facts"
    assert alone.abstention.detail == "bars of BTCUSD are absent, with which ETHUSD is compared"
    [bitcoin] = forecaster.forecast(MarketWindow(both.filter(pl.col("symbol") == "BTCUSD")))
    assert bitcoin.abstention is None


def test_bundle_that_compares_symbols_abstains_where_one_of_them_is_not_there_yet(tmp_path: Path) -> None:
    names = ("log_return_1", "return_rank_60")
    folder = write_tiny_bundle(tmp_path / "bundle", features=names, seed=3)
    forecaster = Forecaster.load(folder)
    needed = forecaster.manifest.bars_needed
    both = walk_candles(("BTCUSD", "ETHUSD"), bars=needed + 20, interval="30m", seed=4)
    found = forecaster.forecast(MarketWindow(both))
    assert [forecast.abstention for forecast in found] == [None, None]
    assert forecaster.forecast(MarketWindow(newest_bars(both, needed))) == found
    times = both["open_time"].unique().sort()
    ether, newest = pl.col("symbol") == "ETHUSD", pl.col("open_time") == times[-1]
    hole = pl.col("open_time").is_between(times[-15], times[-10])
    for missing, reason, told in (
        (ether & newest, "stale_data", "the newest bar of ETHUSD is of"),
        (ether & hole, "too_many_gaps", "since the last hole"),
        (ether & (pl.col("open_time") < times[-9]), "too_few_bars", "9 bars given"),
    ):
        for forecast in forecaster.forecast(MarketWindow(both.filter(~missing))):
            assert forecast.abstention is not None
            assert (forecast.abstention.reason, told in forecast.abstention.detail) == (reason, True)
