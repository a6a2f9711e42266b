"""Schedules: a market that grows is read for the month that runs, one run a symbol at a time."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.defs.market_data.schedules import candles_every_five_minutes, gaps_every_hour
from cryptoai_assets.defs.orderbook.schedules import books_every_five_minutes
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.gaps import GAP_SCHEMA
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.microstructure_days import MADE_UNTIL
from cryptoai_assets.lib.store import write_parquet_atomically

NOW, FEBRUARY = datetime(2026, 3, 31, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def schedule_context(
    instance: dg.DagsterInstance, market: MarketResource
) -> AbstractContextManager[dg.ScheduleEvaluationContext]:
    """Context to be left again: it holds an instance of its own."""
    return dg.build_schedule_context(instance, resources={"market": market}, scheduled_execution_time=NOW)


def asked(
    instance: dg.DagsterInstance,
    market: str,
    root: str = ".",
    schedule: dg.ScheduleDefinition = candles_every_five_minutes,
) -> list[str | None] | str | None:
    resource = MarketResource(name=market, root=root, time=NOW.isoformat())
    with schedule_context(instance, resource) as context:
        found = schedule(context)
    if isinstance(found, dg.SkipReason):
        return found.skip_message
    assert isinstance(found, list)
    # Dagster's daemon refuses several requests that it cannot tell apart.
    assert len({run.run_key for run in found} - {None}) == len(found)
    return [run.partition_key for run in found]


def test_running_month_of_every_symbol_is_asked_for(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert asked(instance, "live", str(tmp_path)) == ["2026-03-01|BTCUSDT", "2026-03-01|ETHUSDT"]


def test_last_bars_of_a_month_are_asked_for_when_it_has_ended(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    resource = MarketResource(name="live", root=str(tmp_path), time="2026-04-01T00:05:00+00:00")
    with schedule_context(instance, resource) as context:
        found = candles_every_five_minutes(context)
    assert isinstance(found, list)
    assert [run.partition_key for run in found] == [
        "2026-03-01|BTCUSDT",
        "2026-03-01|ETHUSDT",
        "2026-04-01|BTCUSDT",
        "2026-04-01|ETHUSDT",
    ]


def test_ended_month_of_one_symbol_is_asked_for_when_nobody_looked_at_its_end(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    stores = MarketResource(name="live", root=str(tmp_path)).stores
    month = walk_candles(["BTCUSDT", "ETHUSDT"], bars=28 * 1440, interval="1m", seed=1, start=FEBRUARY)
    stores.raw_candles.write("BTCUSDT", "2026-02", month.filter(symbol="BTCUSDT")[:-1])
    stores.raw_candles.write("ETHUSDT", "2026-02", month.filter(symbol="ETHUSDT"))
    running = ["2026-03-01|BTCUSDT", "2026-03-01|ETHUSDT"]
    assert asked(instance, "live", str(tmp_path)) == ["2026-02-01|BTCUSDT", *running]


def test_run_that_goes_on_is_not_overtaken(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert f"2026-03-01|{symbol}" in (asked(instance, "live", str(tmp_path)) or [])
        instance.create_run_for_job(
            dg.job(name="refreshed_candles")(lambda: None),  # the job's name is what is looked for
            tags={"dagster/partition": f"2026-03-01|{symbol}"},
            status=dg.DagsterRunStatus.STARTED,
        )
    assert asked(instance, "live", str(tmp_path)) == "the last runs go on"


def made_to(home: Home, day: int, moment: datetime) -> None:
    """Bars of a day of March, as if they were made to a moment of it."""
    path = home.microstructure.path("BTCUSDT", date(2026, 3, day))
    write_parquet_atomically(pl.DataFrame(), path, notes={MADE_UNTIL: moment.isoformat()})


def test_day_that_is_recorded_is_gone_on_with_and_the_last_one_before_it_too(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    root, home = str(tmp_path), MarketResource(name="live", root=str(tmp_path)).home
    assert "nothing is recorded" in str(asked(instance, "live", root, books_every_five_minutes))
    assert asked(instance, "sample", root, books_every_five_minutes) == (
        "the market sample ends with its data"
    )
    received = int(NOW.timestamp()) * 10**9
    for days in (0, 1, 5):
        home.recordings.append("BTCUSDT", [(received - days * 86_400 * 10**9, "{}")])
    assert asked(instance, "live", root, books_every_five_minutes) == ["2026-03-31|BTCUSDT"]
    write_parquet_atomically(pl.DataFrame(), home.microstructure.path("BTCUSDT", date(2026, 3, 30)))
    both = ["2026-03-30|BTCUSDT", "2026-03-31|BTCUSDT"]
    assert asked(instance, "live", root, books_every_five_minutes) == both
    write_parquet_atomically(pl.DataFrame(), home.microstructure.path("BTCUSDT", NOW.date()))
    assert asked(instance, "live", root, books_every_five_minutes) == both
    made_to(home, 30, datetime(2026, 3, 31, tzinfo=UTC))
    assert asked(instance, "live", root, books_every_five_minutes) == both[1:]


def test_days_that_were_recorded_while_the_platform_was_away_are_made_when_it_is_back(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    root, home = str(tmp_path), MarketResource(name="live", root=str(tmp_path)).home
    received = int(NOW.timestamp()) * 10**9
    for days in (4, 3, 2, 0, -1):
        home.recordings.append("BTCUSDT", [(received - days * 86_400 * 10**9, "{}")])
    write_parquet_atomically(pl.DataFrame(), home.microstructure.path("BTCUSDT", date(2026, 3, 28)))
    assert asked(instance, "live", root, books_every_five_minutes) == [
        f"2026-03-{day}|BTCUSDT" for day in (28, 29, 31)
    ]
    # A venue whose clock began anew has bars of days to come.
    write_parquet_atomically(pl.DataFrame(), home.microstructure.path("BTCUSDT", date(2026, 4, 1)))
    assert asked(instance, "live", root, books_every_five_minutes) == [
        f"2026-03-{day}|BTCUSDT" for day in (28, 29, 31)
    ]


def test_day_that_later_ones_went_past_is_asked_for_until_it_was_made_to_its_end(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    root, home = str(tmp_path), MarketResource(name="live", root=str(tmp_path)).home
    midnight = datetime(2026, 3, 31, tzinfo=UTC)
    for days in (4, 3, 2, 1, 0):
        home.recordings.append("BTCUSDT", [(int(NOW.timestamp() - days * 86_400) * 10**9, "{}")])
    # The 30th was made while it ran, the 29th not at all, and those before it are out of reach.
    made_to(home, 27, midnight - timedelta(days=3))
    made_to(home, 30, midnight - timedelta(hours=3))
    made_to(home, 31, midnight + timedelta(hours=5))
    assert asked(instance, "live", root, books_every_five_minutes) == [
        f"2026-03-{day}|BTCUSDT" for day in (29, 30, 31)
    ]
    made_to(home, 29, midnight - timedelta(days=1))
    made_to(home, 30, midnight)
    assert asked(instance, "live", root, books_every_five_minutes) == ["2026-03-31|BTCUSDT"]


def test_market_that_ends_with_its_data_is_left_alone(instance: dg.DagsterInstance) -> None:
    assert asked(instance, "sample") == "the market sample ends with its data"


def gap(symbol: str, month: int, state: str) -> tuple[object, ...]:
    opened = datetime(2026, month, 5, tzinfo=UTC)
    return (symbol, "Binance.US", opened, opened, "not_delivered", 0, state, NOW)


def test_months_with_an_open_gap_are_asked_for_the_newest_first(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    root = str(tmp_path)
    assert asked(instance, "live", root, gaps_every_hour) == "no gap is open"
    assert asked(instance, "sample", root, gaps_every_hour) == "the market sample ends with its data"
    rows = [
        gap("BTCUSDT", 1, "open"),
        gap("BTCUSDT", 2, "refilled"),
        gap("BTCUSDT", 3, "open"),
        gap("ETHUSDT", 2, "open"),
        gap("ETHUSDT", 3, "not_to_be_had"),
    ]
    MarketResource(name="live", root=root).gaps.append(pl.DataFrame(rows, schema=GAP_SCHEMA, orient="row"))
    wanted = ["2026-03-01|BTCUSDT", "2026-02-01|ETHUSDT", "2026-01-01|BTCUSDT"]
    assert asked(instance, "live", root, gaps_every_hour) == wanted
    instance.create_run_for_job(
        dg.job(name="refreshed_candles")(lambda: None),
        tags={"dagster/partition": wanted[0]},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert asked(instance, "live", root, gaps_every_hour) == wanted[1:]
