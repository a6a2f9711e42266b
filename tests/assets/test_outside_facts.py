"""What is told of facts that rows lack: how many rows, from when to when, and whether the newest one does."""

from datetime import UTC, datetime, timedelta

import polars as pl

from cryptoai_assets.lib.outside_facts import LACKING_SCHEMA, rows_without_facts

START = datetime(2019, 7, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NAMES = ("bar_range", "outside/VIXCLS/score", "outside/VIXCLS/change_1", "outside/SP500/score")


def rows_of(symbol: str, **features: list[float | None]) -> pl.DataFrame:
    """Rows of ten minutes; a feature is 1 unless it is given."""
    values = {name: features.get(name.rpartition("/")[0] or name, [1.0] * 10) for name in NAMES}
    times = [START + minute * MINUTE for minute in range(10)]
    return pl.DataFrame({"open_time": times, "symbol": symbol, "traded": True, **values})


def hole(*minutes: int) -> list[float | None]:
    return [None if minute in minutes else 1.0 for minute in range(10)]


def test_rows_that_lack_nothing_are_not_told() -> None:
    found = rows_without_facts(rows_of("BTCUSDT"), NAMES)
    assert (found.height, found.schema) == (0, LACKING_SCHEMA)
    assert rows_without_facts(rows_of("BTCUSDT"), NAMES[:1]).is_empty()


def test_hole_of_a_fact_is_told_with_its_rows_and_whether_it_reaches_the_newest_row_of_a_symbol() -> None:
    whole = rows_of("BTCUSDT")
    inside = rows_without_facts(
        pl.concat([whole, rows_of("ETHUSDT", **{"outside/VIXCLS": hole(3, 4)})]), NAMES
    )
    assert inside.rows() == [("VIXCLS", 2, 0.1, START + 3 * MINUTE, START + 4 * MINUTE, False)]
    at_the_end = rows_of("ETHUSDT", **{"outside/VIXCLS": hole(3, 9)})
    found = rows_without_facts(pl.concat([whole, at_the_end.with_columns(bar_range=1.0)]), NAMES)
    assert found.rows() == [("VIXCLS", 2, 0.1, START + 3 * MINUTE, START + 9 * MINUTE, True)]


def test_row_that_lacks_more_than_facts_is_not_counted() -> None:
    warming_up = rows_of("BTCUSDT", **{"bar_range": hole(0, 1), "outside/SP500": hole(0, 1, 2)})
    quiet = warming_up.with_columns(traded=pl.col("open_time") != START + 2 * MINUTE)
    [(fact, rows, share, *_)] = rows_without_facts(warming_up, NAMES).rows()
    assert (fact, rows, share) == ("SP500", 1, 1 / 8)
    assert rows_without_facts(quiet, NAMES).is_empty()
