"""Markets described in a file and read from an archive: real collectors' bad files through the assets."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fakes.archives import embedded_candles
from fakes.loopback_app import serving
from fakes.own_market import materialized, write_market
from starlette.applications import Starlette
from starlette.routing import Mount

from cryptoai_assets.lib.gaps import GapTable
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.faults import Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket

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

[plausibility]
bars = 20
"""


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
    stores = MarketStores(tmp_path / "data" / "hours")
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
    gaps, complete = (
        found["checks"].pop(name) for name in ("candles_have_no_unexplained_gap", "candles_are_complete")
    )
    assert all(check["passed"] for check in found["checks"].values())
    assert gaps["missing_bars"] > 150_000
    assert not complete["passed"]


OUTAGE = datetime(2018, 10, 4, 9, tzinfo=UTC), datetime(2018, 10, 4, 9, 29, tzinfo=UTC)
GROWING = """
preset = "sandbox"
symbols = ["BTCUSDT"]
history_start = 2018-10-04
history_end = 2018-10-05
"""


def test_gaps_of_a_venue_are_found_worked_off_and_cleaned_again(tmp_path: Path) -> None:
    """Bars that the venue leaves out at first, and half an hour in which the real one was down."""
    end = datetime(2018, 10, 5, tzinfo=UTC)
    venue = SandboxMarket(embedded_candles(), seed=1, start=end, speed=0, clock=lambda: end)
    # Wrong in the two looks of one question: a later one finds them.
    plan = FaultPlan(1, {Fault.MISSING_BAR: 0.02}, looks=2)
    with serving(Starlette(routes=[Mount("/binance", Faults(binance_app(venue), plan))])) as server:
        (tmp_path / "markets").mkdir()
        (tmp_path / "markets" / "growing.toml").write_text(GROWING)
        environment = {
            "CRYPTOAI_MARKET": "growing",
            "CRYPTOAI_ROOT": str(tmp_path),
            "CRYPTOAI_SANDBOX": server.http,
        }
        states = []
        for _ in range(2):
            assert materialized(environment, "raw_candles", "repaired_gaps", "clean_candles")["success"]
            current = GapTable(tmp_path / "data" / "growing" / "gaps").current(["BTCUSDT"], interval="1m")
            states.append(current)
    first, second = states
    assert first["state"].unique().to_list() == ["open"]
    assert set(second["state"]) == {"open", "refilled"}
    left = second.filter(state="open")
    assert left.select("from", "to").rows() == [OUTAGE]
    candles = MarketStores(tmp_path / "data" / "growing").clean_candles.read(["BTCUSDT"])
    assert candles.equals(venue.bars("BTCUSDT", "1m", end - timedelta(days=1), end))
