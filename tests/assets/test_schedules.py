"""Schedules: a market that grows is read for the month that runs, one run a symbol at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from cryptoai_assets.defs.market_data.schedules import candles_every_five_minutes
from cryptoai_assets.defs.resources import MarketResource

NOW = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def asked(instance: dg.DagsterInstance, market: str) -> list[str | None] | str | None:
    resource = MarketResource(name=market, time=NOW.isoformat())
    context = dg.build_schedule_context(instance, resources={"market": resource})
    found = candles_every_five_minutes(context)
    return found.skip_message if isinstance(found, dg.SkipReason) else [run.partition_key for run in found]


def test_running_month_of_every_symbol_is_asked_for(instance: dg.DagsterInstance) -> None:
    assert asked(instance, "live") == ["2026-03-01|BTCUSDT", "2026-03-01|ETHUSDT"]


def test_run_that_goes_on_is_not_overtaken(instance: dg.DagsterInstance) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert f"2026-03-01|{symbol}" in (asked(instance, "live") or [])
        instance.create_run_for_job(
            dg.job(name="refreshed_candles")(lambda: None),  # the job's name is what is looked for
            tags={"dagster/partition": f"2026-03-01|{symbol}"},
            status=dg.DagsterRunStatus.STARTED,
        )
    assert asked(instance, "live") == "the last runs go on"


def test_market_that_ends_with_its_data_is_left_alone(instance: dg.DagsterInstance) -> None:
    assert asked(instance, "sample") == "the market sample ends with its data"
