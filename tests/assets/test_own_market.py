"""Markets described in a file and read from an archive: real collectors' bad files through the assets."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
from fakes.own_market import materialized, write_market

from cryptoai_assets.lib.market import market_of
from cryptoai_assets.lib.market_data import MarketStores

SETTINGS = """
preset = "live"
source = "archive"
venue = "{venue}"
quote = "USD"
symbols = ["BTCUSD"]
interval = "{interval}"
clock = "data"
history_start = {first}
history_end = {last}
max_rejected_share = 0.7
"""


def stores_of(root: Path, name: str) -> MarketStores:
    market_of(name, root / "markets")
    return MarketStores(root / "data" / name)


def test_real_archive_newest_first_with_swapped_volumes_is_told_and_its_good_rows_are_kept(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    candles = pl.read_parquet(shared_data("bad/btcusd_1h_swapped_volume_newest_first.parquet")).select(
        pl.from_epoch("unix").dt.replace_time_zone("UTC").alias("timestamp"),
        pl.lit("BTCUSD").alias("symbol"),
        "open",
        "high",
        "low",
        "close",
        "volume",
        quote_volume="Volume USD",
    )
    settings = SETTINGS.format(venue="Bitstamp", interval="1h", first="2018-05-01", last="2022-03-02")
    environment = write_market(tmp_path, "hours", candles, settings)
    found = materialized(environment, "raw_candles", "clean_candles")
    assert found["success"]
    swapped = found["checks"]["bars_are_plausible"]
    assert (swapped["passed"], swapped["severity"], swapped["rows_against"]) == (False, "WARN", 20_143)
    assert found["checks"]["candles_are_unique"]["passed"]
    stores = stores_of(tmp_path, "hours")
    good = candles.filter(~(pl.col("volume") > pl.col("quote_volume"))).sort("timestamp")
    assert stores.clean_candles.read(["BTCUSD"])["open_time"].to_list() == good["timestamp"].to_list()
    reasons = stores.quarantine.read(["BTCUSD"])["reason"].unique().to_list()
    assert reasons == ["base_and_quote_volume_swapped"]


def test_real_collector_that_lost_four_fifths_has_its_gaps_in_the_table(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    candles = pl.read_parquet(shared_data("bad/bybit_btc_1m_80pct_missing.parquet"))
    first, last = candles["ts"].min(), candles["ts"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    settings = SETTINGS.format(
        venue="Bybit", interval="1m", first=f"{first:%Y-%m-%d}", last=f"{last:%Y-%m-%d}"
    )
    typed = candles.rename({"turnover": "quote_volume"}).with_columns(symbol=pl.lit("BTCUSD"))
    environment = write_market(tmp_path, "minutes", typed, settings)
    found = materialized(environment, "raw_candles", "clean_candles")
    assert found["success"]
    wild = found["checks"].pop("bars_are_plausible")
    # A price that went from 56,000 to 77,755 and back within a minute is not believed.
    assert (wild["passed"], wild["severity"], wild["rows_against"]) == (False, "WARN", 46)
    gaps = found["checks"].pop("candles_have_no_unexplained_gap")
    assert all(check["passed"] for check in found["checks"].values())
    assert gaps["missing_bars"] > 150_000
