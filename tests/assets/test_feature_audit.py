"""The audit on planted features: each mistake is named by the half that looks for it, and measured."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from fakes.walk_rows import BAR, walk_grid

from cryptoai_assets.lib.feature_audit import (
    AUDIT_SCHEMA,
    AUDITED_TIMES,
    audited_times,
    feature_audit,
    forgets_its_warmup,
    market_features,
    sees_the_future,
)
from cryptoai_assets.lib.leaks import Finding
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.sources.sample import sample_source
from edge_bundle.candles import bar_grid
from edge_bundle.facts import empty_facts
from edge_bundle.features.catalog import catalog, chosen_features, computed_features, sourced_catalog
from edge_bundle.features.feature import Feature, span_memory
from edge_bundle.features.sources import with_sources
from edge_bundle.windows import MarketWindow, window_grid

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
CLOSE, VOLUME = pl.col("close"), pl.col("volume")
EMA_GAP = (CLOSE / CLOSE.ewm_mean(span=50, adjust=False)).log()


def planted(name: str, expression: pl.Expr, warmup: int) -> Feature:
    return Feature(name, expression, warmup, "ratio", "Planted.", 1e-2)


@pytest.fixture(scope="module")
def grid() -> pl.DataFrame:
    """Two symbols, one of which has a hole of ten bars."""
    bars = walk_grid(["BTCUSD", "ETHUSD"], bars=3000, seed=5)
    place = pl.int_range(pl.len()).over("symbol")
    holed = bars.filter((pl.col("symbol") == "BTCUSD") | ~place.is_between(1200, 1209))
    candles = holed.drop("traded", "missing_run", "segment")
    return bar_grid(candles, interval="30m", max_missing_bars=3)


def audited(grid: pl.DataFrame, *features: Feature) -> pl.DataFrame:
    return feature_audit(grid, features, times=audited_times(grid, count=AUDITED_TIMES))


def test_catalog_holds_on_real_candles() -> None:
    day = datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 7, 1, tzinfo=UTC)
    fetched = sample_source().fetch("EOSUSD", *day)
    grid = window_grid(MarketWindow(fetched.candles, fetched.facts), interval="30m", max_missing_bars=3)
    audit = feature_audit(grid, catalog().values(), times=audited_times(grid, count=4))
    assert dict(audit.schema) == AUDIT_SCHEMA
    assert audit["feature"].to_list() == list(catalog())
    assert (audit["compared_bars"] > 0).mean() > 0.5
    assert sees_the_future(audit).holds
    assert forgets_its_warmup(audit).holds
    assert audit["tail_difference"].max() < 1e-9


@pytest.mark.parametrize(
    ("expression", "warmup", "later_bars"),
    [
        ((CLOSE.shift(-1) / CLOSE).log(), 1, 1),
        ((CLOSE.shift(-3) / CLOSE.shift(3)).log().fill_null(0.0), 3, 3),
        (CLOSE / CLOSE.shift(-400), 0, 400),
        (CLOSE / CLOSE.rolling_mean(11, center=True), 5, 5),
        (CLOSE / CLOSE.mean(), 0, None),
        (CLOSE.rank() / pl.len(), 0, None),
    ],
)
def test_feature_that_reads_later_bars_is_named_with_how_many(
    grid: pl.DataFrame, expression: pl.Expr, warmup: int, later_bars: int | None
) -> None:
    audit = audited(grid, planted("crystal_ball", expression, warmup), catalog()["log_return_5"])
    assert audit["sees_the_future"].to_list() == [True, False]
    assert audit["later_bars"].to_list() == [later_bars, None]
    found = sees_the_future(audit)
    number = "any number" if later_bars is None else f"{later_bars} later bar"
    assert not found.holds
    assert found.sentence.startswith("crystal_ball reads ")
    assert number in found.sentence
    assert "log_return_5" not in found.sentence


def test_first_bar_that_differs_is_named_with_both_values(grid: pl.DataFrame) -> None:
    row = audited(grid, planted("next_return", (CLOSE.shift(-1) / CLOSE).log(), 1)).row(0, named=True)
    first = audited_times(grid, count=AUDITED_TIMES)[0]
    assert (row["first_at"], row["symbol"], row["known_then"]) == (first, "BTCUSD", None)
    close = grid.filter((pl.col("symbol") == "BTCUSD") & (pl.col("open_time") >= first))["close"]
    assert row["known_later"] == pytest.approx((close[1] / close[0] - 1), rel=1e-2)


@pytest.mark.parametrize(
    ("expression", "warmup", "bars_enough"),
    [
        (EMA_GAP, 50, 800),
        (CLOSE / CLOSE.rolling_mean(100), 50, 100),
        (CLOSE.shift(1) / CLOSE, 0, 1),
        (VOLUME.cum_sum() / VOLUME, 5, None),
    ],
)
def test_warmup_that_is_too_short_is_named_with_one_that_is_enough(
    grid: pl.DataFrame, expression: pl.Expr, warmup: int, bars_enough: int | None
) -> None:
    audit = audited(grid, planted("forgetful", expression, warmup), catalog()["log_return_5"])
    assert audit["forgets_its_warmup"].to_list() == [True, False]
    assert audit["bars_enough"].to_list() == [bars_enough, None]
    found = forgets_its_warmup(audit)
    assert not found.holds
    assert found.sentence.startswith("forgetful ")
    assert ("no tail" if bars_enough is None else f"{bars_enough} would be enough") in found.sentence
    assert sees_the_future(audit).holds


def test_warmup_that_is_derived_is_enough_and_one_half_of_it_is_not(grid: pl.DataFrame) -> None:
    whole, half = span_memory(50), span_memory(50) // 2
    audit = audited(grid, planted("whole", EMA_GAP, whole), planted("half", EMA_GAP, half))
    assert audit["forgets_its_warmup"].to_list() == [False, True]
    assert audit["bars_enough"].to_list() == [None, 2 * half]


def test_reading_ahead_is_no_short_warmup(grid: pl.DataFrame) -> None:
    audit = audited(grid, planted("next_return", (CLOSE.shift(-1) / CLOSE).fill_null(1.0), 1))
    assert not sees_the_future(audit).holds
    assert forgets_its_warmup(audit).holds


def test_difference_within_rounding_is_none(grid: pl.DataFrame) -> None:
    def audit(share: float) -> Finding:
        mean = CLOSE / CLOSE.shift(1) + share * CLOSE.mean()
        return sees_the_future(audited(grid, planted("almost", mean, 1)))

    assert audit(1e-16).holds
    assert not audit(1e-6).holds


def test_features_of_the_whole_market_are_judged_on_the_bars_of_all_symbols(grid: pl.DataFrame) -> None:
    names = [
        name
        for name in sourced_catalog(symbols=["BTCUSD", "ETHUSD"], facts=(), charts=True)
        if name not in catalog()
    ]
    beta = chosen_features(["bitcoin_beta_60"])[0]
    wrong = replace(beta, name="forgetful_beta", warmup=30)

    def forgetful(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
        sourced = with_sources(bars, [beta.name], facts=empty_facts(), greatest_age={}, bar=BAR)
        return computed_features(sourced, features)

    times = audited_times(grid, count=AUDITED_TIMES)
    honest = feature_audit(
        grid, chosen_features(names), times=times, compute=market_features(empty_facts(), {}, BAR)
    )
    assert len(names) > 5
    assert (honest["compared_bars"] > 0).all()
    assert sees_the_future(honest).holds
    assert forgets_its_warmup(honest).holds
    caught = feature_audit(grid, [wrong], times=times, compute=forgetful)
    assert forgets_its_warmup(caught).sentence.startswith("forgetful_beta gives no value from a tail")
    assert caught["bars_enough"].to_list() == [60]


def test_feature_whose_warmup_exceeds_the_history_is_said_to_be_unjudged(grid: pl.DataFrame) -> None:
    audit = audited(grid, planted("patient", CLOSE.rolling_mean(5001), 5000), catalog()["log_return_1"])
    found = forgets_its_warmup(audit)
    assert found.holds
    assert found.sentence == (
        "none of 1 features reads more than its warm-up; the history is too short to judge patient"
    )


def test_times_are_spread_over_the_history_and_bars_follow_each(grid: pl.DataFrame) -> None:
    times = audited_times(grid, count=4)
    every = grid["open_time"].unique().sort().to_list()
    assert [every.index(time) for time in times] == [375, 1125, 1875, 2625]
    assert audited_times(grid.head(1), count=4) == []


def test_page_catches_the_two_mistakes_that_it_plants_and_not_the_feature_that_it_adds() -> None:
    right, wrong = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in right.split('"""', 2)[2].splitlines() if line]) <= 10
    grid = embedded_grid()
    honest = audited(grid, *family(right))
    assert sees_the_future(honest).holds
    assert forgets_its_warmup(honest).holds
    caught = audited(grid, *family(wrong))
    assert caught.filter("sees_the_future")["feature"].to_list() == ["next_return"]
    assert caught.filter("forgets_its_warmup")["feature"].to_list() == ["ema_gap_50"]
    for found in (sees_the_future(caught), forgets_its_warmup(caught)):
        assert f"         {found.sentence}\n" in PAGE.read_text()


def embedded_grid() -> pl.DataFrame:
    """The bars that `make demo` audits."""
    market = market_preset("sample")
    days = datetime(2017, 10, 1, tzinfo=UTC), datetime(2019, 10, 1, tzinfo=UTC)
    parts = [sample_source().fetch(symbol, *days) for symbol in market.symbols]
    window = MarketWindow(pl.concat(part.candles for part in parts), pl.concat(part.facts for part in parts))
    return window_grid(window, interval=market.interval, max_missing_bars=market.max_missing_bars)


def family(source: str) -> list[Feature]:
    """Features of a module that is printed on the page."""
    module: dict[str, object] = {}
    exec(source, module)  # noqa: S102 - the page's own code
    features = module["features"]
    assert callable(features)
    return list(features())
