"""Live scores: what was served against what happened, the promise and the baselines, with intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Float64Array, dataset
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.baselines import LAST_RETURN, LastSignReversal, Majority, Zero
from cryptoai_assets.lib.models.forecaster_model import ForecasterModel
from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Score,
    calibration_score,
    direction_scores,
    paired_interval,
    return_scores,
    share_score,
)
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.training_record import STRETCH_GROUP
from cryptoai_monitoring.live_score import scored_forecasts
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.candles import UTC_MICROSECONDS

LIVE_NAME = "live_scores.parquet"
# Scores of a version, and the one over all symbols together.
EVERY_SYMBOL = "all"
KEYS = ("version", "variant", "symbol", "horizon_bars")
# A day or ten horizons, whichever is longer: over that, errors hardly depend on each other.
BLOCK_HORIZONS = 10
# Scores of which more is better; of the calibration error and the Brier score, less.
DIRECTIONS = ("accuracy", "brier")
SCHEMA: dict[str, pl.DataType] = {
    "version": pl.Int64(),
    "variant": pl.String(),
    "symbol": pl.String(),
    "horizon_bars": pl.Int64(),
    "window": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "rows": pl.Int64(),
    "promised": pl.Float64(),
    "baseline": pl.Float64(),
    "best_baseline": pl.String(),
    "gain_lower": pl.Float64(),
    "gain_upper": pl.Float64(),
    "until": UTC_MICROSECONDS,
}


@dataclass(frozen=True, slots=True)
class LiveScoreSettings:
    """Over what live scores are taken, and how their intervals are drawn.

    Parameters
    ----------
    windows
        Name and length, back from the newest bar whose outcome is known.
    least_rows
        Answered rows that moved, under which a window has no score.
    """

    windows: Mapping[str, timedelta]
    least_rows: int
    resamples: int
    seed: int
    confidence: float

    def bootstrap(self, market: Market, horizon: int) -> BootstrapSettings:
        """Draw blocks of a day or ten horizons."""
        block = max(market.bars_a_day, BLOCK_HORIZONS * horizon)
        return BootstrapSettings(block, self.resamples, self.seed, self.confidence)


LIVE_SCORES = LiveScoreSettings(
    windows=MappingProxyType(
        {"1 day": timedelta(days=1), "7 days": timedelta(days=7), "30 days": timedelta(days=30)}
    ),
    least_rows=20,
    resamples=300,
    seed=31,
    confidence=0.95,
)


def newest_live_scores(home: Home, features: pl.DataFrame, trained_until: datetime) -> pl.DataFrame:
    """Live scores of all that was served lately, see `live_scores`; kept in `LIVE_NAME`.

    Parameters
    ----------
    trained_until
        Of the champion: the baselines learn from the same bars.
    """
    scored = scored_log(home, features)
    promised = {
        found.version: promises(home, found.bundle_sha256)
        for found in home.tracking.versions(home.market.model)
        if found.bundle_sha256
    }
    scores = live_scores(
        scored,
        baselines=baseline_forecasts(features, trained_until, home.market),
        promised=promised,
        market=home.market,
        settings=LIVE_SCORES,
    )
    write_parquet_atomically(scores, home.monitoring / LIVE_NAME)
    return scores


def scored_log(home: Home, features: pl.DataFrame) -> pl.DataFrame:
    """Forecasts of the log whose outcome is known by now; what happened is kept beside them."""
    with ForecastLog(home.forecasts_database) as log:
        scored = scored_forecasts(log.read(model=home.market.model), outcomes_of(features, home.market))
        happened = scored.select("symbol", "known_at", "horizon_bars", "return_bps").unique()
        log.write_outcomes(home.market.model, happened)
    return scored


def outcomes_of(dataset: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Known forward returns in basis points, one row per symbol, bar and horizon."""
    return pl.concat(
        dataset.select(
            "symbol",
            "open_time",
            horizon_bars=pl.lit(horizon, pl.Int64),
            return_bps=pl.col(f"return_{horizon}") * 1e4,
        ).drop_nulls()
        for horizon in market.horizons
    )


def baseline_forecasts(features: pl.DataFrame, trained_until: datetime, market: Market) -> pl.DataFrame:
    """Probability of up that each baseline says of the bars after the training, having learnt before."""
    reads = [LAST_RETURN] if LAST_RETURN in features.columns else []
    rows = dataset(features, features, reads, lookback=1, bar=market.bar)
    train, later = rows.between(None, trained_until), rows.between(trained_until, None)
    models: list[ForecasterModel] = [Zero(), Majority(), *([LastSignReversal()] if reads else [])]
    said = {
        model.kind: model.fit(train, horizons=market.horizons, seed=0).predict(later).probability_up
        for model in models
    }
    return pl.concat(
        later.keys.with_columns(
            pl.lit(horizon, pl.Int64).alias("horizon_bars"),
            *(pl.Series(kind, found[:, place]) for kind, found in said.items()),
        )
        for place, horizon in enumerate(market.horizons)
    )


def promises(home: Home, bundle: str) -> dict[str, float]:
    """Scores of this bundle on its version's final stretch, such as ``h1/accuracy``; none if not scored."""
    found = [one for one in home.tracking.versions(home.market.model) if one.bundle_sha256 == bundle]
    tags = found[-1].tags if found else {}
    said = {name: text.split()[0] for name, text in tags.items() if name.startswith(f"{STRETCH_GROUP}h")}
    return {name.removeprefix(STRETCH_GROUP): float(text) for name, text in said.items()}


def live_scores(
    scored: pl.DataFrame,
    *,
    baselines: pl.DataFrame,
    promised: Mapping[int, Mapping[str, float]],
    market: Market,
    settings: LiveScoreSettings,
) -> pl.DataFrame:
    """Scores of each version, variant, symbol, horizon and window.

    Accuracy, Brier score and calibration error are over answered rows whose price moved, rank IC and the
    interval's coverage over answered rows, the abstention rate over all. The calibration error is that of the
    gate: over ten bins of equal counts. It is above zero by chance alone, the more the fewer the rows; its
    interval takes that off.

    Parameters
    ----------
    scored
        From `cryptoai_monitoring.live_score.scored_forecasts`.
    baselines
        ``symbol``, ``open_time``, ``horizon_bars``, and the probability of up that each baseline says.
    promised
        By version, scores of its final stretch named as ``h1/accuracy``.

    Returns
    -------
    DataFrame
        In `SCHEMA`. ``baseline`` is the best of the baselines on the same rows, ``gain`` the interval of what
        is gained over it row by row; null where a score has none.
    """
    kinds = [name for name in baselines.columns if name not in ("symbol", "open_time", "horizon_bars")]
    every = scored.join(baselines, on=["symbol", "open_time", "horizon_bars"], how="left")
    every = pl.concat([every, every.with_columns(symbol=pl.lit(EVERY_SYMBOL))])
    rows: list[dict[str, object]] = []
    for window, length in settings.windows.items():
        newest = every.filter(pl.col("known_at") > pl.col("known_at").max() - length)
        for key, group in newest.sort(*KEYS, "open_time").group_by(KEYS, maintain_order=True):
            named = dict(zip(KEYS, key, strict=True))
            version, horizon = int(str(named["version"])), int(str(named["horizon_bars"]))
            said = promised.get(version, {})
            until = group["known_at"].max()
            bootstrap = settings.bootstrap(market, horizon)
            for score, beside in _scores(group, kinds, bootstrap, settings.least_rows):
                rows.append(
                    {
                        **named,
                        "window": window,
                        "metric": score.name,
                        "value": score.value,
                        "lower": score.lower,
                        "upper": score.upper,
                        "rows": score.rows,
                        "promised": said.get(f"h{horizon}/{score.name}"),
                        "until": until,
                        **beside,
                    }
                )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _scores(
    group: pl.DataFrame, kinds: list[str], bootstrap: BootstrapSettings, least_rows: int
) -> Iterator[tuple[Score, dict[str, object]]]:
    abstained = group["abstention"].is_not_null().cast(pl.Float64).to_numpy()
    yield share_score("abstention_rate", abstained, group["open_time"], bootstrap), {}
    answered = group.filter(pl.col("abstention").is_null())
    moved = answered.filter(pl.col("return_bps") != 0)
    if moved.height < least_rows:
        return
    inside = answered["return_bps"].is_between(answered["lower_bps"], answered["upper_bps"])
    promised = answered["interval_coverage"].mean()
    coverage = share_score("coverage", inside.cast(pl.Float64).to_numpy(), answered["open_time"], bootstrap)
    yield coverage, {"promised": promised}
    realised = answered["return_bps"].to_numpy()
    ranked = return_scores(
        answered["expected_return_bps"].to_numpy(), realised, answered["open_time"], bootstrap
    )
    yield ranked[0], {}
    up = (moved["return_bps"].to_numpy() > 0).astype(np.float64)
    said = moved["probability_up"].to_numpy()
    yield calibration_score(said, up, moved["open_time"], bootstrap), {}
    for score in direction_scores(said, up, moved["open_time"], bootstrap):
        if score.name in DIRECTIONS:
            yield score, _beside(score.name, moved, kinds, bootstrap)


def _beside(
    metric: str, moved: pl.DataFrame, kinds: list[str], bootstrap: BootstrapSettings
) -> dict[str, object]:
    """Best baseline on the same rows, and what is gained over it."""
    told = moved.drop_nulls(kinds) if kinds else moved.clear()
    if not told.height:
        return {}
    known = (told["return_bps"].to_numpy() > 0).astype(np.float64)
    losses = {kind: _loss(metric, told[kind].to_numpy(), known) for kind in kinds}
    best = min(losses, key=lambda kind: float(losses[kind].mean()))
    ours = _loss(metric, told["probability_up"].to_numpy(), known)
    gain = paired_interval(losses[best], ours, told["open_time"], bootstrap)
    value = float(losses[best].mean())
    return {
        "baseline": 1 - value if metric == "accuracy" else value,
        "best_baseline": best,
        "gain_lower": gain.lower,
        "gain_upper": gain.upper,
    }


def _loss(metric: str, probability_up: Float64Array, up: Float64Array) -> Float64Array:
    """Share that is wrong, half of it where nothing is said; or the Brier score."""
    if metric == "brier":
        return np.asarray((probability_up - up) ** 2, dtype=np.float64)
    return np.where(probability_up == 0.5, 0.5, (probability_up > 0.5) != (up > 0.5)).astype(np.float64)
