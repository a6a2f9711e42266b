"""How a drift is told: with a picture and the live scores beside the features, and until it is over."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from cryptoai_assets.lib.digest import live_score_facts
from cryptoai_assets.lib.figures import drift_figure, png_bytes
from cryptoai_assets.lib.home import Home
from edge_bundle.alerts import Alert, Outbox

SCORED = timedelta(days=7)
PICTURED_FEATURES = 10


def illustrated(home: Home, alert: Alert, drift: pl.DataFrame) -> Alert:
    """Add the drift's picture, and the scores of the last week's forecasts, to an alert about it.

    Parameters
    ----------
    drift
        From `cryptoai_monitoring.drift.drift_table`.
    """
    now = alert.raised_at
    return replace(
        alert,
        facts=(*alert.facts, *live_score_facts(home, now - SCORED, now)),
        kind=_kind(home),
        about=(alert.cause,),
        picture=png_bytes(drift_figure(drift, shown=PICTURED_FEATURES)),
    )


def drift_is_over(home: Home, now: datetime) -> list[str]:
    """Resolve what was told of drift; return the causes."""
    return Outbox(home.alerts_database).unwell(_kind(home), (), now)


def _kind(home: Home) -> str:
    return f"drift in {home.market.name}"
