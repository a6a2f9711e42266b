"""The watch: what monitoring is shown of the platform's data, and what its verdict sets in motion."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_monitoring.drift import drift_table
from cryptoai_monitoring.live_score import degraded_horizons, live_scores, scored_forecasts
from cryptoai_monitoring.reports import DriftReport, draw_drift_report
from cryptoai_monitoring.thresholds import Calibration
from cryptoai_monitoring.verdict import Judged, Verdict, VerdictPolicy, verdict
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.features.catalog import family_of
from edge_bundle.forecaster import Forecaster

VERDICT_NAME = "verdict.json"
HISTORY_NAME = "verdicts.json"
DRIFT_NAME = "drift.parquet"
WINDOW = timedelta(days=7)
# One false alarm in twenty windows of a week, over all features together.
CALIBRATION = Calibration(false_alarm_rate=0.05, windows=300, seed=11)
POLICY = VerdictPolicy(persistence=3, cool_down=timedelta(days=7))
DEGRADED_STANDARD_ERRORS = 3.0
DEGRADED_MINIMUM_ROWS = 500
SHOWN_FEATURES = 8


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found in the newest window."""

    verdict: Verdict
    drift: pl.DataFrame
    live: pl.DataFrame
    report: DriftReport


def watched_features(forecaster: Forecaster) -> list[str]:
    """Features that can drift; the calendar cannot."""
    return [name for name in forecaster.manifest.features if family_of(name) != "calendar"]


def watch(
    home: Home,
    forecaster: Forecaster,
    features: pl.DataFrame,
    promised: Mapping[int, float],
    outcomes: pl.DataFrame,
) -> Watched:
    """Judge the newest window of the market against what the champion was trained on.

    Parameters
    ----------
    features
        Of every stored bar, sorted by symbol and open time.
    promised
        Accuracy of the champion on its final stretch, by horizon.
    outcomes
        ``symbol``, ``open_time``, ``horizon_bars``, ``return_bps`` of every bar whose outcome is known.
    """
    names = watched_features(forecaster)
    ordered = features.sort("open_time", "symbol")
    window_end = ordered["open_time"][-1] + home.market.bar
    trained_until = datetime.fromisoformat(forecaster.manifest.trained_until)
    reference = ordered.filter(pl.col("open_time") < trained_until)
    window = ordered.filter(pl.col("open_time") >= max(window_end - WINDOW, trained_until))
    drift = drift_table(reference, window, names, CALIBRATION)
    with ForecastLog(home.forecasts_database) as log:
        scored = scored_forecasts(log.read(model=home.market.model), outcomes)
        happened = scored.select("symbol", "known_at", "horizon_bars", "return_bps").unique()
        log.write_outcomes(home.market.model, happened)
    fallen = degraded_horizons(
        scored.filter(pl.col("bundle") == forecaster.digest),
        promised,
        standard_errors=DEGRADED_STANDARD_ERRORS,
        minimum_rows=DEGRADED_MINIMUM_ROWS,
    )
    found = verdict(
        drift,
        model=home.market.model,
        window_end=window_end,
        degraded=bool(fallen),
        earlier=_history(home.monitoring),
        policy=POLICY,
    )
    report = draw_drift_report(home.monitoring, reference, window, drift)
    write_parquet_atomically(drift, home.monitoring / DRIFT_NAME)
    _remember(home.monitoring, found)
    return Watched(found, drift, live_scores(scored), report)


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


def _history(folder: Path) -> list[Judged]:
    path = folder / HISTORY_NAME
    if not path.is_file():
        return []
    return [
        Judged(datetime.fromisoformat(end), drifted, retrain)
        for end, (drifted, retrain) in sorted(json.loads(path.read_bytes()).items())
    ]


def _remember(folder: Path, found: Verdict) -> None:
    """Keep one line a window; a window that is judged again replaces its line."""
    history = {judged.window_end.isoformat(): [judged.drifted, judged.retrain] for judged in _history(folder)}
    history[found.window_end.isoformat()] = [bool(found.drifted), found.action == "retrain"]
    for name, record in ((HISTORY_NAME, history), (VERDICT_NAME, found.to_dict())):
        draft = folder / f".{name}.tmp"
        draft.write_text(json.dumps(record, indent=1))
        draft.replace(folder / name)


def newest_verdict(home: Home) -> Verdict | None:
    """Read the newest verdict; None before the first."""
    path = home.monitoring / VERDICT_NAME
    if not path.is_file():
        return None
    record = json.loads(path.read_bytes())
    return Verdict(
        **{
            **record,
            "window_end": datetime.fromisoformat(record["window_end"]),
            "drifted": tuple(record["drifted"]),
        }
    )


def drift_alert(home: Home, found: Verdict, *, links: Mapping[str, str], now: datetime) -> Alert:
    """What a person is told: what drifted, how much, what follows, and where to look."""
    drift = pl.read_parquet(home.monitoring / DRIFT_NAME).filter("drifted").head(SHOWN_FEATURES)
    facts = [
        (
            row["feature"],
            f"PSI {row['psi']:.2f}, threshold {row['threshold']:.2f}; mean {row['reference_mean']:.3g} → "
            f"{row['window_mean']:.3g} (deviation {row['reference_deviation']:.3g})",
        )
        for row in drift.iter_rows(named=True)
    ]
    return Alert(
        cause=found.cause,
        severity="critical" if found.action == "retrain" else "warning",
        title=f"{'Drift' if found.drifted else 'Fallen score'} in {home.market.name}: {found.action}",
        summary=found.reason,
        facts=(("window ends", f"{found.window_end:%Y-%m-%d %H:%M} UTC"), *facts),
        links=tuple(links.items()),
        raised_at=now,
    )


def failure_alert(
    home: Home,
    cause: str,
    failed: Mapping[str, str],
    *,
    kind: str,
    because: str | None,
    links: Mapping[str, str],
    now: datetime,
) -> Alert:
    """What a person is told of something that failed; one alert a cause.

    Parameters
    ----------
    failed
        Step, check or sensor, and what went wrong there.
    kind
        What failed, as a word: run, check, sensor.
    because
        Why the run was started, where that is recorded.
    """
    started = (("started because of", because),) if because else ()
    return Alert(
        cause=cause,
        severity="critical",
        title=f"{kind.capitalize()} failed in {home.market.name}",
        summary=f"failed: {', '.join(failed)}",
        facts=(*failed.items(), *started),
        links=tuple(links.items()),
        raised_at=now,
    )


def recovery_alert(
    home: Home, run_id: str, recovered: Sequence[str], *, kind: str, links: Mapping[str, str], now: datetime
) -> Alert:
    """What a person is told of steps or checks that were told as failed, and are well again in a run."""
    return Alert(
        cause=f"recovered-{kind}:{run_id}",
        severity="info",
        title=f"{kind.capitalize()} well again in {home.market.name}",
        summary=f"well again: {', '.join(recovered)}",
        facts=(),
        links=tuple(links.items()),
        raised_at=now,
    )


@dataclass(frozen=True, slots=True)
class News:
    """What of the outcomes of a run is to be told.

    Parameters
    ----------
    failed
        What failed and was not told that day, and what it says.
    recovered
        What was told as failed, and is well again.
    told
        Day on which each of those that fail was told last, as ``YYYY-MM-DD``.
    """

    failed: dict[str, str]
    recovered: tuple[str, ...]
    told: dict[str, str]


def news_of(told: Mapping[str, str], outcomes: Mapping[str, str | None], day: str) -> News:
    """What failed is told once a day, until it is well; what was well in between, and fails anew, at once.

    Parameters
    ----------
    told
        Of the runs before; see `News`.
    outcomes
        By step or check what went wrong; None when all is well. What the run did not come to is absent.
    """
    recovered = tuple(name for name in told if outcomes.get(name, "not looked at") is None)
    still = {name: last for name, last in told.items() if name not in recovered}
    failed = {name: said for name, said in outcomes.items() if said is not None and still.get(name, "") < day}
    return News(failed, recovered, still | dict.fromkeys(failed, day))


def raise_alert(home: Home, alert: Alert) -> bool:
    """Put an alert into the outbox; False when its cause is there already."""
    return Outbox(home.alerts_database).add(alert)
