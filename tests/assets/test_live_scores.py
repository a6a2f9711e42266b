"""Live scores: each window, version, variant and symbol by its own rows, beside the promise and baselines."""

from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.lib.figures import live_score_figure
from cryptoai_assets.lib.live_scores import EVERY_SYMBOL, LIVE_SCORES, SCHEMA, LiveScoreSettings, live_scores
from cryptoai_assets.lib.market import PRESETS

START = datetime(2019, 9, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
BARS = 48 * 12
SETTINGS = LiveScoreSettings(
    windows=MappingProxyType({"1 day": timedelta(days=1), "7 days": timedelta(days=7)}),
    least_rows=10,
    resamples=100,
    seed=1,
    confidence=0.95,
)


def served(symbol: str, *, accuracy: float, variant: str = "champion", version: int = 1) -> pl.DataFrame:
    """Forecasts of one bar ahead that are right so often; the last of a hundred abstains."""
    random = np.random.default_rng([len(symbol), version])
    up = random.random(BARS) < 0.5
    right = random.random(BARS) < accuracy
    said = np.where(right == up, 0.5 + random.random(BARS) / 5, 0.5 - random.random(BARS) / 5)
    silent = pl.int_range(BARS, eager=True) % 100 == 99
    times = [START + bar * BAR for bar in range(BARS)]
    return pl.DataFrame(
        {
            "version": version,
            "variant": variant,
            "symbol": symbol,
            "open_time": times,
            "known_at": [time + BAR for time in times],
            "horizon_bars": 1,
            "probability_up": said,
            "expected_return_bps": said - 0.5,
            "lower_bps": -15.0,
            "upper_bps": 15.0,
            "interval_coverage": 0.9,
            "return_bps": np.where(up, 1.0, -1.0) * random.choice([5.0, 10.0, 20.0], BARS),
        },
        schema_overrides={"horizon_bars": pl.Int64, "version": pl.Int64},
    ).with_columns(abstention=pl.when(silent).then(pl.lit("stale_data")))


def scores(log: pl.DataFrame, baselines: pl.DataFrame | None = None) -> pl.DataFrame:
    nothing = log.select("symbol", "open_time", "horizon_bars").unique().with_columns(zero=pl.lit(0.5))
    return live_scores(
        log,
        baselines=nothing if baselines is None else baselines,
        promised={1: {"h1/accuracy": 0.6, "h1/brier": 0.24}},
        market=PRESETS["sample"],
        settings=SETTINGS,
    )


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    return pl.concat([served("BTCUSD", accuracy=0.8), served("ETH", accuracy=0.4)])


@pytest.fixture(scope="module")
def found(log: pl.DataFrame) -> pl.DataFrame:
    return scores(log)


def value(found: pl.DataFrame, metric: str, *, symbol: str = "BTCUSD", window: str = "7 days") -> float:
    return float(found.filter(metric=metric, symbol=symbol, window=window)["value"].item())


def test_scores_are_those_of_the_windows_own_rows(log: pl.DataFrame, found: pl.DataFrame) -> None:
    assert found.schema == SCHEMA
    for window, days in (("1 day", 1), ("7 days", 7)):
        rows = log.filter(symbol="BTCUSD").tail(48 * days)
        answered = rows.filter(pl.col("abstention").is_null())
        up = (answered["return_bps"] > 0).to_numpy().astype(float)
        said = answered["probability_up"].to_numpy()
        by_hand = {
            "abstention_rate": 1 - answered.height / rows.height,
            "accuracy": float(np.mean((said > 0.5) == (up > 0.5))),
            "brier": float(np.mean((said - up) ** 2)),
            "coverage": float(answered["return_bps"].abs().le(15).mean() or 0),
            "calibration_error": sum(
                abs((said[part] - up[part]).sum())
                for part in np.array_split(np.argsort(said, kind="stable"), 10)
            )
            / len(up),
        }
        for metric, expected in by_hand.items():
            assert value(found, metric, window=window) == pytest.approx(expected), metric
    for row in found.iter_rows(named=True):
        assert row["lower"] <= row["upper"]


def test_each_symbol_is_scored_and_all_of_them_together(found: pl.DataFrame) -> None:
    alone = [value(found, "accuracy", symbol=symbol) for symbol in ("BTCUSD", "ETH")]
    assert value(found, "accuracy", symbol=EVERY_SYMBOL) == pytest.approx(np.mean(alone), abs=0.01)
    assert alone[0] > 0.7 > 0.5 > alone[1]
    assert value(found, "rank_ic") > 0.2 > -0.1 > value(found, "rank_ic", symbol="ETH")


def test_promise_and_coverage_that_was_meant_stand_beside(found: pl.DataFrame) -> None:
    promised = dict(found.filter(symbol="ETH", window="1 day").select("metric", "promised").iter_rows())
    assert promised.pop("coverage") == pytest.approx(0.9)
    assert promised == {
        "abstention_rate": None,
        "rank_ic": None,
        "calibration_error": None,
        "accuracy": 0.6,
        "brier": 0.24,
    }


def test_best_baseline_on_the_same_rows_and_what_is_gained_over_it(log: pl.DataFrame) -> None:
    keys = log.select("symbol", "open_time", "horizon_bars")
    always = keys.with_columns(
        zero=pl.lit(0.5), up=pl.lit(1.0), right=(log["return_bps"] > 0).cast(pl.Float64)
    )
    best = scores(log, always).filter(metric="accuracy", symbol="BTCUSD", window="7 days").row(0, named=True)
    assert (best["best_baseline"], best["baseline"]) == ("right", 1.0)
    assert best["gain_upper"] < 0
    even = scores(log).filter(metric="accuracy", window="7 days")
    gains = {row["symbol"]: (row["gain_lower"], row["gain_upper"]) for row in even.iter_rows(named=True)}
    assert gains["BTCUSD"][0] > 0
    assert gains["ETH"][1] < 0


def test_versions_and_variants_are_told_apart(log: pl.DataFrame) -> None:
    shadow = served("BTCUSD", accuracy=0.4, variant="shadow", version=2)
    both = scores(pl.concat([log, shadow])).filter(metric="accuracy", symbol="BTCUSD", window="7 days")
    told = {(row["version"], row["variant"]): row["value"] for row in both.iter_rows(named=True)}
    assert told[1, "champion"] > 0.7
    assert told[2, "shadow"] < 0.5
    assert both.filter(version=2)["promised"].to_list() == [None]


def test_window_in_which_too_little_was_answered_tells_abstentions_alone(log: pl.DataFrame) -> None:
    silent = log.with_columns(abstention=pl.lit("stale_data"))
    assert set(scores(silent)["metric"]) == {"abstention_rate"}
    assert scores(silent)["value"].to_list() == [1.0] * 6
    assert scores(log.clear()).height == 0


def test_figure_is_drawn_of_every_horizon(found: pl.DataFrame) -> None:
    figure = live_score_figure(found, metric="accuracy", symbol=EVERY_SYMBOL)
    [axes] = figure.axes
    assert axes.get_title() == "1 bars ahead"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "v1 champion, 7 days",
        "v1 champion, 1 day",
    ]
    assert list(LIVE_SCORES.windows) == ["1 day", "7 days", "30 days"]
