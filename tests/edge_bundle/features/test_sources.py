"""Features that read more than their own symbol's candles: what they read, when, and when they are null."""

from datetime import timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from fakes.tiny_bundle import START, walk_candles

from edge_bundle.candles import PRICE_COLUMNS, bar_grid
from edge_bundle.errors import BundleRefusedError
from edge_bundle.facts import FACT_SCHEMA, empty_facts
from edge_bundle.features import chart_patterns, context, identity, microstructure, outside
from edge_bundle.features.catalog import (
    catalog,
    chosen_features,
    family_of,
    feature_frame,
    fingerprint,
    sourced_catalog,
)
from edge_bundle.features.sources import facts_read, reads_candles_only, with_sources
from edge_bundle.windows import MarketWindow, window_features

BAR = timedelta(minutes=30)
SYMBOLS = ("BTCUSD", "ETHUSD", "LTCUSD")
BARS = 900
BOOK_FACTS = tuple(f"microstructure/{name}" for name in microstructure.FACTS)
FACTS = ("fear_and_greed", *BOOK_FACTS)
AGES = {"fear_and_greed": timedelta(days=2), **dict.fromkeys(BOOK_FACTS, BAR)}
CONTEXT = tuple(feature.name for feature in context.features())
CHARTS = tuple(feature.name for feature in chart_patterns.features())
IDENTITY = tuple(feature.name for symbol in SYMBOLS for feature in identity.features(symbol))
NAMES = tuple(
    name for name in sourced_catalog(symbols=SYMBOLS, facts=FACTS, charts=True) if name not in catalog()
)

every_feature = pytest.mark.parametrize("name", NAMES)


@cache
def candles() -> pl.DataFrame:
    return walk_candles(SYMBOLS, bars=BARS, interval="30m", seed=5)


@cache
def facts() -> pl.DataFrame:
    """Daily values from 60 days before, published nine hours late, and a value a bar of each book column."""
    random = np.random.default_rng(6)
    days = [START + timedelta(days=day) for day in range(-60, BARS // 48)]
    daily = pl.DataFrame(
        {
            "symbol": pl.Series([None] * len(days), dtype=pl.String),
            "event_time": days,
            "known_at": [day + timedelta(hours=9) for day in days],
            "source": "index",
            "name": "fear_and_greed",
            "value": 50 + np.cumsum(random.normal(0, 3, len(days))),
        },
        schema=FACT_SCHEMA,
    )
    keys = candles().select("symbol", event_time="open_time", known_at=pl.col("open_time") + BAR)
    book = [
        keys.with_columns(
            source=pl.lit("book"), name=pl.lit(name), value=pl.Series(random.lognormal(0, 0.2, keys.height))
        )
        for name in BOOK_FACTS
    ]
    return pl.concat([daily, *book]).select(*FACT_SCHEMA)


def features(of: pl.DataFrame, known: pl.DataFrame | None = None) -> pl.DataFrame:
    window = MarketWindow(of, facts() if known is None else known)
    return window_features(window, NAMES, interval="30m", max_missing_bars=3, greatest_age=AGES)


@cache
def whole() -> pl.DataFrame:
    return features(candles())


def column(frame: pl.DataFrame, name: str, symbol: str = "ETHUSD") -> pl.Series:
    return frame.filter(pl.col("symbol") == symbol)[name]


def assert_same(found: pl.Series, wanted: pl.Series) -> None:
    assert found.is_null().equals(wanted.is_null(), check_names=False)
    assert found.drop_nulls().to_list() == pytest.approx(wanted.drop_nulls().to_list(), rel=1e-9, abs=1e-9)


def warmup(name: str) -> int:
    return chosen_features([name])[0].warmup


# --- memory, time and units, for every member


@every_feature
def test_value_is_null_for_the_warmup_and_a_finite_number_after_it(name: str) -> None:
    for symbol in SYMBOLS:
        found = column(whole(), name, symbol)
        assert (found.is_null() == (pl.int_range(BARS, eager=True) < warmup(name))).all()
        assert found.drop_nulls().is_finite().all()


@cache
def from_tail(row: int, warmup: int) -> pl.DataFrame:
    times = candles()["open_time"].unique().sort()
    return features(candles().filter(pl.col("open_time").is_between(times[row - warmup], times[row])))


@every_feature
@pytest.mark.parametrize("row", [400, 555, 899])
def test_tail_of_the_warmup_and_one_bar_gives_the_value_of_the_whole_history(name: str, row: int) -> None:
    found, wanted = column(from_tail(row, warmup(name)), name)[-1], column(whole(), name)[row]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@cache
def before_another_future() -> pl.DataFrame:
    cut = candles()["open_time"].unique().sort()[700]
    later = pl.col("open_time") >= cut
    changed = candles().with_columns(
        *(pl.when(later).then(pl.col(price) * 3).otherwise(price).alias(price) for price in PRICE_COLUMNS)
    )
    unknown = facts().with_columns(
        value=pl.when(pl.col("known_at") > cut).then(pl.col("value") * 9).otherwise("value")
    )
    return features(changed, unknown).filter(~later)


@every_feature
def test_value_is_the_same_bits_whatever_comes_later(name: str) -> None:
    found = before_another_future()
    wanted = whole().filter(pl.col("open_time") <= found["open_time"].max())
    assert found[name].equals(wanted[name])


@cache
def in_other_units(price: float, volume: float) -> pl.DataFrame:
    scaled = candles().with_columns(pl.col(PRICE_COLUMNS) * price, pl.col("volume") * volume)
    sold = pl.when(pl.col("name") == "microstructure/signed_volume").then(volume).otherwise(1.0)
    return features(scaled, facts().with_columns(value=pl.col("value") * sold))


@every_feature
@pytest.mark.parametrize("factor", [2.0**-20, 2.0**20])
def test_price_and_volume_have_no_unit(name: str, factor: float) -> None:
    assert_same(column(in_other_units(factor, 1.0), name), column(whole(), name))
    assert_same(column(in_other_units(1.0, factor), name), column(whole(), name))


@cache
def after_a_hole() -> pl.DataFrame:
    position = pl.int_range(pl.len()).over("symbol")
    return features(candles().filter(~position.is_between(300, 320))).filter(pl.col("segment") == 1)


@every_feature
def test_value_recovers_after_a_hole_within_its_warmup(name: str) -> None:
    after = after_a_hole()
    assert column(after, name).is_null().to_list() == [place < warmup(name) for place in range(BARS - 321)]
    kept = pl.col("open_time") >= after["open_time"][0] + warmup(name) * BAR
    assert_same(column(after.filter(kept), name), column(whole().filter(kept), name))


@cache
def without_a_move() -> pl.DataFrame:
    still = candles().with_columns(*(pl.lit(100.1).alias(price) for price in PRICE_COLUMNS), volume=0.0)
    dull = facts().with_columns(value=pl.lit(0.0))
    return features(still, dull)


@every_feature
def test_value_is_finite_when_nothing_moves_and_nobody_trades(name: str) -> None:
    found = column(without_a_move(), name).drop_nulls()
    assert found.len()
    assert found.is_finite().all()
    assert found.n_unique() == 1


@cache
def with_an_enormous_bar() -> pl.DataFrame:
    """Bitcoin's price doubles for one bar, in which a hundred times as much is traded."""
    enormous = (pl.col("symbol") == "BTCUSD") & (pl.int_range(pl.len()).over("symbol") == 400)
    return features(
        candles().with_columns(
            *(
                pl.when(enormous).then(pl.col(price) * 2).otherwise(price).alias(price)
                for price in ("high", "close")
            ),
            volume=pl.when(enormous).then(pl.col("volume") * 100).otherwise("volume"),
        )
    )


@every_feature
def test_value_is_finite_on_an_enormous_bar_and_itself_again_after_its_warmup(name: str) -> None:
    for symbol in SYMBOLS:
        found = column(with_an_enormous_bar(), name, symbol)
        assert found.drop_nulls().is_finite().all()
        assert_same(found[402 + warmup(name) :], column(whole(), name, symbol)[402 + warmup(name) :])


# --- context


def test_leader_is_null_where_bitcoin_has_no_bar_and_nothing_else_is() -> None:
    position = pl.int_range(pl.len()).over("symbol")
    hole = (pl.col("symbol") == "BTCUSD") & position.is_between(300, 320)
    frame = features(candles().filter(~hole))
    unknown = column(frame, "bitcoin_return_lag_1").is_null().to_list()
    assert unknown == [place < 2 or 301 <= place <= 322 for place in range(BARS)]
    assert column(frame, "bitcoin_beta_60").is_null().to_list() == [
        place < 60 or 300 <= place <= 380 for place in range(BARS)
    ]
    assert column(frame, "return_rank_60").null_count() == 60


def test_bitcoin_moves_with_itself() -> None:
    for name in ("bitcoin_beta_60", "bitcoin_correlation_240"):
        assert column(whole(), name, "BTCUSD").drop_nulls().to_list() == pytest.approx(
            [1.0] * (BARS - warmup(name))
        )


def test_beta_and_correlation_are_those_of_numpy() -> None:
    one_bar = feature_frame(bar_grid(candles(), interval="30m", max_missing_bars=3), ["log_return_1"])
    own, leader = (
        column(one_bar, "log_return_1", symbol)[-60:].to_numpy() for symbol in ("ETHUSD", "BTCUSD")
    )
    assert column(whole(), "bitcoin_beta_60")[-1] == pytest.approx(own @ leader / (leader @ leader))
    wanted = own @ leader / np.sqrt((own @ own) * (leader @ leader))
    assert column(whole(), "bitcoin_correlation_60")[-1] == pytest.approx(wanted)


def test_ranks_and_breadth_are_those_of_the_symbols_at_that_time() -> None:
    grid = bar_grid(candles(), interval="30m", max_missing_bars=3)
    last = feature_frame(grid, ["log_return_60"]).group_by("symbol", maintain_order=True).last()
    order = last.sort("log_return_60")["symbol"].to_list()
    assert [column(whole(), "return_rank_60", symbol)[-1] for symbol in order] == [0.0, 0.5, 1.0]
    assert column(whole(), "breadth_60")[-1] == pytest.approx((last["log_return_60"] > 0).mean())


def test_equals_share_their_rank() -> None:
    twin = candles().filter(pl.col("symbol") == "BTCUSD").with_columns(symbol=pl.lit("XBTUSD"))
    both = pl.concat([candles().filter(pl.col("symbol") == "BTCUSD"), twin])
    assert set(column(features(both), "return_rank_60", "XBTUSD").drop_nulls()) == {0.5}


@pytest.mark.parametrize("name", CONTEXT)
def test_context_is_null_when_a_symbol_is_alone_and_is_not_bitcoin(name: str) -> None:
    alone = candles().filter(pl.col("symbol") == "ETHUSD")
    assert column(features(alone), name).null_count() == BARS


# --- outside and microstructure


def test_changes_and_score_are_those_of_the_events_known_by_then() -> None:
    value = facts().filter(pl.col("name") == "fear_and_greed")["value"].to_numpy()
    # The bar of 08:30 closes at 09:00 and is the first to know the day's value, the 61st of all.
    last, before = value[60], value[30:60]
    row = whole().filter(
        (pl.col("symbol") == "ETHUSD") & (pl.col("open_time") == START + timedelta(hours=8.5))
    )
    deviation = before.std(ddof=1)
    assert row["outside/fear_and_greed/change_1"][0] == pytest.approx((last - before[-1]) / deviation)
    assert row["outside/fear_and_greed/change_7"][0] == pytest.approx((last - before[-7]) / deviation)
    assert row["outside/fear_and_greed/score"][0] == pytest.approx((last - before.mean()) / deviation)


def test_revision_changes_its_own_event_and_what_follows_but_nothing_before_it_was_known() -> None:
    daily = facts().filter(pl.col("name") == "fear_and_greed")
    revised = daily.row(60, named=True)
    noon = revised["event_time"] + timedelta(hours=12)
    late = pl.DataFrame([{**revised, "known_at": noon, "value": 90.0}], schema=FACT_SCHEMA)
    name = "outside/fear_and_greed/change_1"
    found, former = column(features(candles(), pl.concat([facts(), late])), name), column(whole(), name)
    known = column(whole(), "open_time") + BAR >= noon
    assert found.filter(~known).equals(former.filter(~known))
    assert found.filter(known)[0] != former.filter(known)[0]


def test_fact_is_null_when_it_is_too_old_or_too_short_or_absent() -> None:
    name, daily = "outside/fear_and_greed/score", pl.col("name") == "fear_and_greed"
    end = START + timedelta(days=3)
    stopped = column(features(candles(), facts().filter(~daily | (pl.col("event_time") < end))), name)
    newest = end - timedelta(days=1) + AGES["fear_and_greed"]
    assert stopped.is_null().to_list() == (column(whole(), "open_time") + BAR > newest).to_list()
    short = facts().filter(~daily | (pl.col("event_time") >= START - timedelta(days=29)))
    assert column(features(candles(), short), name).null_count() > 0
    assert column(features(candles(), facts().filter(~daily)), name).null_count() == BARS


def test_late_revision_of_an_old_event_hides_no_newer_one() -> None:
    known = outside.changes(facts(), "fear_and_greed")
    daily = facts().filter(pl.col("name") == "fear_and_greed")
    old = pl.DataFrame(
        [{**daily.row(40, named=True), "known_at": START + timedelta(days=5), "value": 0.0}],
        schema=FACT_SCHEMA,
    )
    assert outside.changes(pl.concat([facts(), old]), "fear_and_greed").equals(known)


def test_book_fact_counts_for_its_own_bar_only() -> None:
    position = pl.int_range(pl.len()).over("symbol", "name")
    dropped = (pl.col("name") == "microstructure/top_imbalance") & (position == 500)
    frame = features(candles(), facts().filter(~dropped))
    assert column(frame, "book_imbalance").is_null().arg_true().to_list() == [500]
    assert column(frame, "book_imbalance_mean_5").is_null().arg_true().to_list()[4:] == [
        500,
        501,
        502,
        503,
        504,
    ]


# --- what a market offers


@pytest.mark.parametrize(
    ("symbols", "configured", "charts", "families"),
    [
        (SYMBOLS, (), False, {"identity", "context"}),
        (("BTCUSD",), (), False, set()),
        (("ETHUSD", "LTCUSD"), (), False, {"identity"}),
        (("BTCUSD",), ("fear_and_greed",), False, {"outside"}),
        (("BTCUSD",), BOOK_FACTS[:1], False, {"microstructure"}),
        (("BTCUSD",), (), True, {"chart_patterns"}),
        (SYMBOLS, FACTS, True, {"identity", "context", "outside", "microstructure", "chart_patterns"}),
    ],
)
def test_feature_whose_source_is_not_configured_is_absent(
    symbols: tuple[str, ...], configured: tuple[str, ...], charts: bool, families: set[str]
) -> None:
    offered = sourced_catalog(symbols=symbols, facts=configured, charts=charts)
    assert list(offered)[: len(catalog())] == list(catalog())
    assert {family_of(name) for name in offered if name not in catalog()} == families
    assert facts_read(tuple(offered)) == set(configured)
    assert (fingerprint(tuple(offered)) == fingerprint(tuple(catalog()))) == (not families)


def test_catalog_reads_the_candles_of_one_symbol_only() -> None:
    assert reads_candles_only(tuple(catalog()))
    assert {name for name in NAMES if reads_candles_only([name])} == {*CHARTS, *IDENTITY}


def test_every_member_of_the_families_is_tested() -> None:
    families = (context, microstructure, chart_patterns)
    members = {feature.name for family in families for feature in family.features()}
    assert set(NAMES) == {
        *members,
        *IDENTITY,
        *(feature.name for feature in outside.features("fear_and_greed")),
    }
    for feature in chosen_features(NAMES):
        assert feature.unit
        assert feature.meaning.endswith(".")
        assert ("null" in feature.meaning) is (feature.name not in {*CHARTS, *IDENTITY})


def test_each_bar_tells_whose_it_is_from_the_first_one_on() -> None:
    grid = bar_grid(candles(), interval="30m", max_missing_bars=3)
    told = feature_frame(grid, IDENTITY).select("symbol", *IDENTITY).unique().sort("symbol")
    assert told["symbol"].to_list() == list(SYMBOLS)
    np.testing.assert_array_equal(told.select(IDENTITY).to_numpy(), np.eye(len(SYMBOLS)))


def test_grid_without_the_columns_is_refused_by_their_names() -> None:
    grid = bar_grid(candles(), interval="30m", max_missing_bars=3)
    with pytest.raises(BundleRefusedError, match="the grid lacks _return_rank: with_sources"):
        feature_frame(grid, ["return_rank_60"])


def test_unknown_change_of_a_fact_is_refused() -> None:
    with pytest.raises(BundleRefusedError, match="outside/fear_and_greed/crystal_ball"):
        chosen_features(["outside/fear_and_greed/crystal_ball"])


def test_grid_stays_as_it_is_for_features_of_candles() -> None:
    grid = bar_grid(candles(), interval="30m", max_missing_bars=3)
    assert with_sources(grid, tuple(catalog()), facts=empty_facts(), greatest_age={}, bar=BAR) is grid


def test_grid_without_a_bar_gets_its_columns_too() -> None:
    grid = bar_grid(candles().head(0), interval="30m", max_missing_bars=3)
    sourced = with_sources(grid, NAMES, facts=empty_facts(), greatest_age=AGES, bar=BAR)
    assert feature_frame(sourced, NAMES).is_empty()
