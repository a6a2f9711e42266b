"""Market settings and the part of a month that a market has."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from cryptoai_assets.lib.market import (
    PRESETS,
    MarketFileError,
    UnknownMarketError,
    market_of,
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


MINUTES = """
source = "archive"
venue = "Bitfinex"
quote = "USD"
symbols = ["BTCUSD"]
clock = "data"
history_start = 2017-12-01
history_end = 2018-01-01
max_rejected_share = 0
plausibility = {typical_moves = 300}
"""


def market_file(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text)
    return folder


def test_file_of_a_market_says_what_is_other_than_in_its_preset(tmp_path: Path) -> None:
    mine = market_of("mine", market_file(tmp_path, MINUTES))
    assert mine == replace(
        LIVE,
        name="mine",
        source="archive",
        venue="Bitfinex",
        quote="USD",
        symbols=("BTCUSD",),
        clock="data",
        history_start=date(2017, 12, 1),
        history_end=date(2018, 1, 1),
        max_rejected_share=0.0,
        plausibility=replace(LIVE.plausibility, typical_moves=300.0),
    )
    assert market_of("mine", market_file(tmp_path, 'preset = "sample"')) == replace(SAMPLE, name="mine")


def test_file_names_the_models_of_its_market(tmp_path: Path) -> None:
    mine = market_of("mine", market_file(tmp_path, 'models = ["lightgbm", "lstm"]'))
    assert mine == replace(LIVE, name="mine", models=("lightgbm", "lstm"))


def test_preset_is_not_hidden_by_a_file_and_an_absent_file_is_an_unknown_market(tmp_path: Path) -> None:
    (tmp_path / "sample.toml").write_text(MINUTES)
    assert market_of("sample", tmp_path) == SAMPLE
    with pytest.raises(UnknownMarketError, match="'mine' is not known"):
        market_of("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("symbols = [", "is no TOML"),
        ("symbol = ['BTCUSD']", "symbol is no setting; these are: source, venue"),
        ("name = 'other'", "name is no setting"),
        ("horizons = 5", "horizons is 5, something like .5, 10, 30. is wanted"),
        ("plausibility = {bar = 20}", "bar is no setting; these are: bars"),
        ("interval = '3d'", "bars of 3d do not divide a day"),
        ("interval = '7m'", "bars of 7m do not divide a day"),
        ("interval = 'hourly'", "interval 'hourly' is not understood"),
    ],
)
def test_file_that_is_no_market_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(MarketFileError, match=reason):
        market_of("mine", market_file(tmp_path, text))


def test_market_of_a_file_may_do_without_any_source_of_facts(tmp_path: Path) -> None:
    (tmp_path / "minutes.toml").write_text('preset = "live"\ngreatest_ages = {}\n')
    assert market_of("minutes", tmp_path).greatest_age == {}
