"""Market settings and the part of a month that a market has."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from cryptoai_assets.lib.market import (
    PRESETS,
    UnknownMarketError,
    market_preset,
    month_after,
    month_window,
    months_of,
)

SAMPLE, LIVE = PRESETS["sample"], PRESETS["live"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_unknown_market_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownMarketError, match=r"'samlpe' is not known; choose one of sample, live"):
        market_preset("samlpe")


def test_sample_has_two_years_of_months() -> None:
    months = months_of(SAMPLE, date(2030, 1, 1))
    assert (len(months), months[0], months[-1]) == (24, "2017-10", "2019-09")


def test_months_of_an_open_history_end_today() -> None:
    market = replace(LIVE, history_start=date(2025, 11, 3))
    assert months_of(market, date(2026, 1, 31)) == ["2025-11", "2025-12", "2026-01"]


@pytest.mark.parametrize(("months", "later"), [(1, "2020-01"), (-12, "2018-12"), (13, "2021-01")])
def test_month_after_crosses_years(months: int, later: str) -> None:
    assert month_after("2019-12", months) == later


def test_bar_that_has_not_closed_is_outside_the_window() -> None:
    start, end = month_window(LIVE, "2026-02", at("2026-02-03T04:05:59"))
    assert (start, end) == (at("2026-02-01"), at("2026-02-03T04:05"))


def test_window_is_clipped_to_the_history() -> None:
    market = replace(SAMPLE, history_start=date(2017, 10, 5), history_end=date(2017, 10, 20))
    assert month_window(market, "2017-10", at("2026-01-01")) == (at("2017-10-05"), at("2017-10-20"))


def test_month_that_has_not_begun_is_an_empty_window() -> None:
    start, end = month_window(LIVE, "2026-03", at("2026-02-03"))
    assert start == end
