"""The embedded sample: what it holds, and what its absent bars are taken for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import archive, embedded_candles

from cryptoai_assets.lib.market import PRESETS
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.sample import SampleSource, sample_file
from edge_bundle.candles import validated_candles
from edge_bundle.facts import no_trade_slots, validated_facts

MARKET = PRESETS["sample"]
START, END = datetime(2017, 10, 1, tzinfo=UTC), datetime(2019, 10, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
# 2018-10-04, hour 8:30 to 10:00: four coins, none, bitcoin alone, three of five.
OUTAGE = datetime(2018, 10, 4, 8, tzinfo=UTC)


def quiet_slots(symbol: str, source: SampleSource, end: datetime = END) -> list[datetime]:
    return no_trade_slots(source.fetch(symbol, START, end).facts)["open_time"].to_list()


def test_sample_holds_the_values_of_its_origin(shared_data) -> None:  # type: ignore[no-untyped-def]
    origin = pl.read_parquet(shared_data("candles/bitfinex_30m_5coins_2017-10_2019-10.parquet"))
    origin = origin.rename({"timestamp": "open_time"}).with_columns(pl.col("symbol").cast(pl.String))
    own = pl.read_parquet(sample_file())
    assert own.equals(origin.sort("symbol", "open_time").select(own.columns))


def test_sample_holds_valid_candles_of_the_whole_preset() -> None:
    candles = embedded_candles()
    validated_candles(candles, interval=MARKET.interval)
    assert tuple(candles["symbol"].unique().sort()) == MARKET.symbols
    assert candles.height == 175_005


def test_fetch_answers_the_window_alone() -> None:
    fetched = SampleSource().fetch("ETHUSD", OUTAGE - BAR, OUTAGE + BAR)
    assert fetched.candles["open_time"].to_list() == [OUTAGE - BAR, OUTAGE]
    assert set(fetched.candles["symbol"]) == {"ETHUSD"}


def test_slot_of_another_coin_is_evidence_and_an_empty_slot_is_none() -> None:
    facts = SampleSource().fetch("LTCUSD", OUTAGE, OUTAGE + 6 * BAR).facts
    validated_facts(facts)
    slots = facts["event_time"].to_list()
    # 9:00 is absent for all five coins: nothing says that the venue answered.
    assert slots == [OUTAGE + BAR, OUTAGE + 3 * BAR, OUTAGE + 4 * BAR]
    assert (facts["known_at"] - facts["event_time"]).to_list() == [BAR] * 3


def test_evidence_uses_nothing_that_comes_after_the_slot(tmp_path: Path) -> None:
    early = embedded_candles().filter(pl.col("open_time") < OUTAGE + 4 * BAR)
    known_then = quiet_slots("LTCUSD", SampleSource(archive=archive(tmp_path, early)))
    known_later = quiet_slots("LTCUSD", SampleSource())
    assert known_then
    assert known_then == [slot for slot in known_later if slot < OUTAGE + 4 * BAR]


def test_no_coin_is_absent_while_the_others_trade_as_usual() -> None:
    """What makes the rule sensible here: beside an absent bar the venue hardly trades at all."""
    candles = embedded_candles()
    usual = pl.col("volume").rolling_median(7 * 48, min_samples=48).shift(1).over("symbol")
    activity = candles.select("open_time", "symbol", share=pl.col("volume") / usual)
    source = SampleSource()
    quiet = pl.concat(no_trade_slots(source.fetch(symbol, START, END).facts) for symbol in MARKET.symbols)
    beside = quiet.join(activity.rename({"symbol": "other"}), on="open_time").group_by("symbol", "open_time")
    shares = beside.agg(pl.col("share").median())["share"]
    assert (quiet.height, shares.len()) == (105, 105)
    assert shares.max() < 0.12
    assert shares.median() < 0.002


def test_symbol_that_is_not_held_is_refused_with_those_that_are() -> None:
    with pytest.raises(SourceError, match="does not hold DOGEUSD; it holds BTCUSD, EOSUSD, ETHUSD, LTCUSD"):
        SampleSource().fetch("DOGEUSD", START, END)
