"""What is told: failures once a day while they last and at their end, and of a drift each of its columns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.watch import DRIFT_NAME, News, drift_alert, news_of, scores_higher
from cryptoai_monitoring.verdict import Evidence, Verdict

FIRST, SECOND = "2019-09-30", "2019-10-01"


def test_what_fails_is_told_once_a_day_until_it_is_well_and_then_that_it_is() -> None:
    news = news_of({}, {"fresh": "3 days old", "unique": None}, FIRST)
    assert news == News({"fresh": "3 days old"}, (), {"fresh": FIRST})
    assert news_of(news.told, {"fresh": "3 days old"}, FIRST) == News({}, (), {"fresh": FIRST})
    assert news_of(news.told, {"fresh": "4 days old"}, SECOND) == News(
        {"fresh": "4 days old"}, (), {"fresh": SECOND}
    )
    well = news_of(news.told, {"fresh": None}, FIRST)
    assert well == News({}, ("fresh",), {})
    assert news_of(well.told, {"fresh": None}, FIRST) == News({}, (), {})
    assert news_of(well.told, {"fresh": "1 day old"}, FIRST).failed == {"fresh": "1 day old"}


def test_run_that_does_not_come_to_it_says_nothing_of_it_nor_does_a_late_word_of_the_day_before() -> None:
    told = {"fresh": SECOND}
    assert news_of(told, {"unique": "2 rows"}, SECOND) == News(
        {"unique": "2 rows"}, (), {"fresh": SECOND, "unique": SECOND}
    )
    assert news_of(told, {"fresh": "3 days old"}, FIRST) == News({}, (), told)


def test_drift_names_the_columns_of_the_week_with_their_numbers_and_those_of_the_hour(tmp_path: Path) -> None:
    home = MarketResource(name="sample", root=str(tmp_path)).home
    columns = ("psi", "threshold", "reference_mean", "window_mean", "reference_deviation")
    weekly = pl.DataFrame({"feature": ["rsi_14", "macd"], "drifted": [True, False]}).with_columns(
        pl.lit(float(place)).alias(column) for place, column in enumerate(columns)
    )
    home.monitoring.mkdir(parents=True)
    weekly.write_parquet(home.monitoring / DRIFT_NAME)
    now = datetime(2019, 10, 1, tzinfo=UTC)
    drifted = ("macd of BTCUSD", "rsi_14")
    evidence = Evidence(now, "digest", now, drifted, 1.5, 4, "holds", None, False)
    found = Verdict("watch", "2 of 4 columns", "drift:1", evidence, drifting=True, trains=False)
    alert = drift_alert(home, found, links={}, now=now)
    assert [name for name, _ in alert.facts] == ["window ends", "rsi_14", "macd of BTCUSD"]
    assert alert.facts[1][1].startswith("PSI 0.00, threshold 1.00; mean 2 → 3")
    assert alert.facts[2][1] == "beyond its hourly threshold"


def served(seed: int, *, rows: int, horizon: int, lead: float = 0.0) -> pl.DataFrame:
    """Overlapping moves of a walk, of which the version before knows a part by its lead."""
    draws = np.random.default_rng(seed)
    running = np.concatenate([[0.0], draws.normal(size=rows + horizon).cumsum()])
    moves = (running[horizon:] - running[:-horizon])[:rows]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "open_time": [start + row * timedelta(minutes=1) for row in range(rows)],
            "return_bps": moves,
            "probability_up": 0.5 + 0.02 * np.sin(np.arange(rows) / horizon),
            "before": 0.5 + lead * np.sign(moves),
        }
    )


@pytest.mark.parametrize("horizon", [6, 30])
def test_version_before_that_knows_as_little_is_hardly_ever_shown_to_be_better(horizon: int) -> None:
    worlds = 200
    found = sum(
        scores_higher(served(seed, rows=20 * horizon, horizon=horizon), horizon) for seed in range(worlds)
    )
    assert found <= binom.ppf(0.99, worlds, 0.015)


@pytest.mark.parametrize(("horizon", "rows"), [(1, 100), (6, 120), (30, 600)])
def test_version_before_is_shown_to_be_better_from_twenty_horizons_on(horizon: int, rows: int) -> None:
    assert scores_higher(served(1, rows=rows, horizon=horizon, lead=0.2), horizon)
    assert not scores_higher(served(1, rows=rows - 1, horizon=horizon, lead=0.2), horizon)
