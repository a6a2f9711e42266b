"""An archive, such as the embedded sample: what it holds, and what its absent bars are taken for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import archive, embedded_candles

from cryptoai_assets.lib.market import PRESETS
from cryptoai_assets.lib.quality import screened
from cryptoai_assets.lib.sources.archive import ArchiveSource
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.sample import sample_file, sample_source
from edge_bundle.candles import validated_candles
from edge_bundle.facts import no_trade_slots, validated_facts

MARKET = PRESETS["sample"]
PRICES = ("open", "high", "low", "close", "volume")
START, END = datetime(2017, 10, 1, tzinfo=UTC), datetime(2019, 10, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
# 2018-10-04, hour 8:30 to 10:00: four coins, none, bitcoin alone, three of five.
OUTAGE = datetime(2018, 10, 4, 8, tzinfo=UTC)


def quiet_slots(symbol: str, source: ArchiveSource, end: datetime = END) -> list[datetime]:
    return no_trade_slots(source.fetch(symbol, START, end).facts)["open_time"].to_list()


def test_sample_holds_the_values_of_its_origin(shared_data: Callable[[str], Path]) -> None:
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
    fetched = sample_source().fetch("ETHUSD", OUTAGE - BAR, OUTAGE + BAR)
    assert fetched.candles["open_time"].to_list() == [OUTAGE - BAR, OUTAGE]
    assert set(fetched.candles["symbol"]) == {"ETHUSD"}


def test_slot_of_another_coin_is_evidence_and_an_empty_slot_is_none() -> None:
    facts = sample_source().fetch("LTCUSD", OUTAGE, OUTAGE + 6 * BAR).facts
    validated_facts(facts)
    slots = facts["event_time"].to_list()
    # 9:00 is absent for all five coins: nothing says that the venue answered.
    assert slots == [OUTAGE + BAR, OUTAGE + 3 * BAR, OUTAGE + 4 * BAR]
    assert (facts["known_at"] - facts["event_time"]).to_list() == [BAR] * 3


def test_evidence_uses_nothing_that_comes_after_the_slot(tmp_path: Path) -> None:
    early = embedded_candles().filter(pl.col("open_time") < OUTAGE + 4 * BAR)
    known_then = quiet_slots("LTCUSD", ArchiveSource(archive(tmp_path, early), "30m", "sample"))
    known_later = quiet_slots("LTCUSD", sample_source())
    assert known_then
    assert known_then == [slot for slot in known_later if slot < OUTAGE + 4 * BAR]


def test_no_coin_is_absent_while_the_others_trade_as_usual() -> None:
    """What makes the rule sensible here: beside an absent bar the venue hardly trades at all."""
    candles = embedded_candles()
    usual = pl.col("volume").rolling_median(7 * 48, min_samples=48).shift(1).over("symbol")
    activity = candles.select("open_time", "symbol", share=pl.col("volume") / usual)
    source = sample_source()
    quiet = pl.concat(no_trade_slots(source.fetch(symbol, START, END).facts) for symbol in MARKET.symbols)
    beside = quiet.join(activity.rename({"symbol": "other"}), on="open_time").group_by("symbol", "open_time")
    shares = beside.agg(pl.col("share").median())["share"]
    assert (quiet.height, shares.len()) == (105, 105)
    assert shares.max() < 0.12
    assert shares.median() < 0.002


def test_symbol_that_is_not_held_is_refused_with_those_that_are() -> None:
    with pytest.raises(SourceError, match="does not hold DOGEUSD; it holds BTCUSD, EOSUSD, ETHUSD, LTCUSD"):
        sample_source().fetch("DOGEUSD", START, END)


def month_of_bitcoin() -> pl.DataFrame:
    own = (pl.col("symbol") == "BTCUSD") & (pl.col("open_time").dt.strftime("%Y-%m") == "2018-10")
    return embedded_candles().filter(own)


def test_time_at_which_one_coin_alone_is_off_the_grid_says_nothing_of_the_others(tmp_path: Path) -> None:
    stray = pl.lit(START + timedelta(minutes=7)).cast(pl.Datetime("us", "UTC"))
    odd = month_of_bitcoin().head(1).with_columns(open_time=stray, symbol=pl.lit("ETHUSD"))
    source = ArchiveSource(archive(tmp_path, pl.concat([month_of_bitcoin(), odd])), "30m", "mine")
    assert source.fetch("BTCUSD", START, END).facts.is_empty()
    assert source.fetch("ETHUSD", START, END).candles.equals(odd)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        (pl.col("open_time").dt.epoch("s"), r"column open_time: \d{10} is not a UTC time \(text or milli"),
        (pl.col("open_time").dt.epoch("us"), r"column open_time: \d{16} is not a UTC time"),
        (pl.col("open_time").dt.epoch("ns"), r"column open_time: \d{19} is not a UTC time"),
        (pl.col("open_time").dt.strftime("%d.%m.%Y"), r"column open_time: '\d\d\.\d\d\.2018' is not a UTC"),
        (pl.col("open_time").dt.epoch("s").cast(pl.Float64), "open_time is Float64: give ISO 8601"),
    ],
)
def test_archive_whose_times_are_of_another_unit_is_refused_and_not_read_as_empty(
    tmp_path: Path, told: pl.Expr, named: str
) -> None:
    source = ArchiveSource(archive(tmp_path, month_of_bitcoin().with_columns(open_time=told)), "30m", "mine")
    with pytest.raises(SourceRefusedError, match=named):
        source.fetch("BTCUSD", START, END)


@pytest.mark.parametrize("name", ["timestamp", "ts", "open_time_ms", "open_time"])
def test_archive_may_name_and_type_its_columns_otherwise_and_keeps_its_order(
    tmp_path: Path, name: str
) -> None:
    newest_first = month_of_bitcoin().reverse()
    told = {
        "open_time_ms": pl.col("open_time").dt.epoch("ms"),
        "open_time": pl.col("open_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    opened = told.get(name, pl.col("open_time"))
    typed = newest_first.select(opened.alias(name), pl.col("symbol").cast(pl.Categorical), pl.col(PRICES))
    source = ArchiveSource(
        archive(tmp_path, typed.with_columns(remark=pl.lit("no column of a candle"))), "30m", "mine"
    )
    assert source.fetch("BTCUSD", START, END).candles.equals(newest_first)


def test_volume_in_the_quote_currency_is_handed_on_and_shows_swapped_rows(tmp_path: Path) -> None:
    candles = month_of_bitcoin().with_columns(quote_volume=pl.col("volume") * pl.col("close"))
    turned = candles.with_row_index().with_columns(
        pl.when(pl.col("index") < 700).then(pl.col(other)).otherwise(pl.col(own)).alias(own)
        for own, other in (("volume", "quote_volume"), ("quote_volume", "volume"))
    )
    source = ArchiveSource(archive(tmp_path, turned), "30m", "mine")
    told = screened(source.fetch("BTCUSD", START, END).candles, interval="30m")
    assert told.rejected["reason"].to_list() == ["base_and_quote_volume_swapped"] * 700
    assert told.accepted.equals(month_of_bitcoin().slice(700))


def test_archive_that_cannot_be_read_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    candles = month_of_bitcoin()
    for faulty, reason in (
        (candles.drop("close"), "columns absent: close"),
        (candles.drop("symbol"), "symbol"),
        (candles.with_columns(open_time=pl.lit(2**62)), "holds no candles"),
        (candles.with_columns(quote_volume=pl.lit("much")), "holds no candles"),
        (candles.rename({"open_time": "when"}), "when, symbol, .*none is open_time"),
        (
            candles.with_columns(pl.col("close").cast(pl.String).replace_strict({}, default="much")),
            "'much' is not a",
        ),
    ):
        with pytest.raises(SourceRefusedError, match=reason):
            ArchiveSource(archive(tmp_path, faulty), "30m", "mine").fetch("BTCUSD", START, END)
    (tmp_path / "torn").write_bytes(b"PAR1")
    with pytest.raises(SourceRefusedError, match="torn holds no candles"):
        ArchiveSource(tmp_path / "torn", "30m", "mine").fetch("BTCUSD", START, END)
    with pytest.raises(SourceError, match="is absent"):
        ArchiveSource(tmp_path / "none", "30m", "mine").fetch("BTCUSD", START, END)
