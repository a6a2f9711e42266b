"""The model's input against a plain loop, and the same rows for training and for one forecast."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.errors import CandlesRefusedError, FactsRefusedError
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts
from edge_bundle.features.catalog import catalog, feature_frame, largest_warmup
from edge_bundle.windows import (
    INPUT_KEYS,
    ROWS_AT_ONCE,
    MarketWindow,
    bars_needed,
    model_input,
    window_features,
    window_grid,
)

START = datetime(2019, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
NAMES = ("first", "second")

# A row: slots since the row before it (1 is the next bar), and which features are null.
ROWS = st.lists(st.tuples(st.sampled_from([1, 1, 1, 2, 5]), st.sampled_from(["", "", "", "first", "second"])))


def frame(symbol: str, rows: list[tuple[int, str]]) -> pl.DataFrame:
    times = [START + int(slot) * BAR for slot in np.cumsum([step for step, _ in rows])]
    features = {
        name: [None if absent == name else float(row + shift) for row, (_, absent) in enumerate(rows)]
        for shift, name in enumerate(NAMES)
    }
    return pl.DataFrame(
        {"open_time": times, "symbol": [symbol] * len(rows), "traded": [True] * len(rows), **features},
        schema={
            "open_time": FACT_SCHEMA["event_time"],
            "symbol": pl.String(),
            "traded": pl.Boolean(),
            "first": pl.Float64(),
            "second": pl.Float64(),
        },
    )


def looped_rows(features: pl.DataFrame, lookback: int) -> list[tuple[int, list[list[float]]]]:
    """Row number of the last bar, and the input, of every complete run of bars."""
    records = features.rows(named=True)
    found = []
    for last in range(lookback - 1, len(records)):
        bars = records[last - lookback + 1 : last + 1]
        complete = all(bar[name] is not None for bar in bars for name in NAMES)
        unbroken = all(
            later["symbol"] == bar["symbol"] and later["open_time"] - bar["open_time"] == BAR
            for bar, later in pairwise(bars)
        )
        if complete and unbroken:
            found.append((last, [[bar[name] for name in NAMES] for bar in bars]))
    return found


@given(bitcoin=ROWS, ether=ROWS, lookback=st.integers(1, 4))
def test_input_is_what_a_plain_loop_collects(
    bitcoin: list[tuple[int, str]], ether: list[tuple[int, str]], lookback: int
) -> None:
    features = pl.concat([frame("BTCUSD", bitcoin), frame("ETHUSD", ether)])
    wanted = looped_rows(features, lookback)
    found = model_input(features, NAMES, lookback=lookback, bar=BAR)
    assert found.values.dtype == np.float32
    assert found.values.shape == (len(wanted), lookback, len(NAMES))
    assert found.values.tolist() == [values for _, values in wanted]
    assert found.keys.equals(features.select(INPUT_KEYS)[[row for row, _ in wanted]])


@given(rows=ROWS, lookback=st.integers(1, 4))
def test_last_input_of_all_rows_is_the_input_of_the_last_rows_alone(
    rows: list[tuple[int, str]], lookback: int
) -> None:
    features = frame("BTCUSD", rows)
    alone = model_input(features.tail(lookback), NAMES, lookback=lookback, bar=BAR)
    among = model_input(features, NAMES, lookback=lookback, bar=BAR)
    if alone.values.size:
        assert alone.input_sha256(0) == among.input_sha256(len(among.values) - 1)
        assert alone.keys.equals(among.keys.tail(1))
    else:
        assert among.keys.join(features.tail(1), on="open_time", how="semi").is_empty()


def test_columns_of_the_input_follow_the_order_of_the_names() -> None:
    features = frame("BTCUSD", [(1, ""), (1, "")])
    forth = model_input(features, NAMES, lookback=2, bar=BAR)
    back = model_input(features, NAMES[::-1], lookback=2, bar=BAR)
    assert np.array_equal(forth.values, back.values[:, :, ::-1])
    assert forth.input_sha256(0) != back.input_sha256(0)


def test_input_of_many_rows_is_the_same_as_of_each_alone() -> None:
    rows = [(1, "second" if row % 1000 == 0 else "") for row in range(ROWS_AT_ONCE + 7)]
    features = frame("BTCUSD", rows)
    found = model_input(features, NAMES, lookback=1, bar=BAR)
    wanted = features.drop_nulls().select(pl.col(NAMES).cast(pl.Float32))
    assert found.values.tolist() == [[list(row)] for row in wanted.rows()]


def test_bar_with_a_value_beyond_the_models_numbers_is_in_no_input() -> None:
    features = frame("BTCUSD", [(1, "")] * 3).with_columns(first=pl.Series([1.0, 1e39, 2.0]))
    assert model_input(features, NAMES, lookback=1, bar=BAR).values[:, 0, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("lookback", [1, 3])
def test_training_row_and_forecast_read_the_same_input(lookback: int) -> None:
    names = tuple(catalog())
    needed = bars_needed(names, lookback)
    assert needed == lookback + largest_warmup(names)
    window = MarketWindow(walk_candles(("BTCUSD",), bars=needed + 40, interval="30m", seed=8))
    grid = window_grid(window, interval="30m", max_missing_bars=3)
    trained = model_input(
        window_features(window, names, interval="30m", max_missing_bars=3), names, lookback=lookback, bar=BAR
    )
    assert len(trained.values) == 41
    for row in (0, 17, 40):
        tail = feature_frame(grid.slice(row, needed), names).tail(lookback)
        asked = model_input(tail, names, lookback=lookback, bar=BAR)
        assert asked.keys.equals(trained.keys[[row]])
        scales = np.array([feature.scale for feature in catalog().values()])
        size = np.maximum(np.abs(asked.values[0]), scales)
        assert (np.abs(asked.values[0] - trained.values[row]) / size).max() < 2e-7


def test_one_bar_too_few_gives_no_input() -> None:
    names = ("return_deviation_15", "log_return_1")
    needed = bars_needed(names, 3)
    candles = walk_candles(("BTCUSD",), bars=needed, interval="30m", seed=8)
    for bars, rows in ((needed, 1), (needed - 1, 0)):
        features = window_features(
            MarketWindow(candles.tail(bars)), names, interval="30m", max_missing_bars=3
        )
        assert len(model_input(features, names, lookback=3, bar=BAR).values) == rows


def test_window_reads_bars_without_a_trade_from_its_facts() -> None:
    candles = walk_candles(("BTCUSD",), bars=30, interval="30m", seed=8)
    quiet = candles.slice(10, 8)
    facts = quiet.select(
        "symbol",
        event_time="open_time",
        known_at=pl.col("open_time") + BAR,
        source=pl.lit("venue"),
        name=pl.lit(NO_TRADE),
        value=pl.lit(1.0),
    ).select(*FACT_SCHEMA)
    kept = candles.join(quiet, on="open_time", how="anti")
    told = window_grid(MarketWindow(kept, facts), interval="30m", max_missing_bars=3)
    assert told.filter(~pl.col("traded"))["open_time"].equals(quiet["open_time"])
    assert window_grid(MarketWindow(kept), interval="30m", max_missing_bars=3)["segment"].max() == 1


def test_window_that_breaks_its_contract_is_refused() -> None:
    candles = walk_candles(("BTCUSD",), bars=3, interval="30m", seed=8)
    with pytest.raises(CandlesRefusedError, match="1h grid"):
        window_grid(MarketWindow(candles), interval="1h", max_missing_bars=3)
    with pytest.raises(FactsRefusedError):
        window_grid(MarketWindow(candles, empty_facts().drop("value")), interval="30m", max_missing_bars=3)
