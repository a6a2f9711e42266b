"""Coverage: what is due of a month, and what became of it, while the month runs and after it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.coverage import coverage
from cryptoai_assets.lib.market import PRESETS
from cryptoai_assets.lib.market_data import MarketStores
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts

MARKET = PRESETS["live"]
START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 12


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (START + timedelta(hours=HOURS), HOURS * 60),
        (START + timedelta(hours=HOURS, minutes=40), HOURS * 60),  # what comes next is on its way
        (START + timedelta(days=32), 31 * 24 * 60),
    ],
)
def test_running_month_is_due_up_to_its_newest_bar_and_one_that_is_over_to_its_end(
    now: datetime, due: int, tmp_path: Path
) -> None:
    stores = MarketStores(tmp_path)
    candles = walk_candles(["BTCUSDT"], bars=HOURS * 60, interval="1m", seed=1, start=START)
    stores.clean_candles.write("BTCUSDT", "2026-03", candles[:100].vstack(candles[103:]))
    stores.clean_facts.write("BTCUSDT", "2026-03", empty_facts())
    [row] = coverage(stores, MARKET, now).iter_rows(named=True)
    assert (row["due"], row["present"], row["missing"]) == (due, HOURS * 60 - 3, due - HOURS * 60 + 3)


def test_fact_off_the_grid_is_of_no_bar(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    candles = walk_candles(["BTCUSDT"], bars=31 * 24 * 60, interval="1m", seed=1, start=START)
    stores.clean_candles.write("BTCUSDT", "2026-03", candles)
    stray = pl.DataFrame(
        [("BTCUSDT", START + timedelta(seconds=7), START + timedelta(seconds=67), "test", NO_TRADE, 1.0)],
        schema=FACT_SCHEMA,
        orient="row",
    )
    stores.clean_facts.write("BTCUSDT", "2026-03", stray)
    [row] = coverage(stores, MARKET, START + timedelta(days=32)).iter_rows(named=True)
    assert (row["present"], row["no_trade"], row["missing"]) == (31 * 24 * 60, 0, 0)


def test_month_without_a_bar_is_not_due_while_it_runs(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    stores.clean_candles.write(
        "BTCUSDT", "2026-03", walk_candles(["X"], bars=1, interval="1m", seed=1).clear()
    )
    stores.clean_facts.write("BTCUSDT", "2026-03", empty_facts())
    assert coverage(stores, MARKET, START + timedelta(hours=1))["due"].to_list() == [0]
