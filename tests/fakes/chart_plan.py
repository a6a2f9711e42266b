"""A small plan on candles of walks, and its dataset."""

from datetime import UTC, datetime, timedelta

import polars as pl
from fakes.chart_problem import SETTINGS
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.charts.dataset import ChartAmounts, ChartSplit
from cryptoai_assets.lib.charts.plan import ChartPlan
from edge_bundle.chart import CHART_60
from edge_bundle.chart_rule import RULE

START, BAR = datetime(2018, 1, 1, tzinfo=UTC), timedelta(minutes=30)
PLAN = ChartPlan(
    chart=CHART_60,
    rule=RULE,
    intervals=("30m",),
    split=ChartSplit("ETHUSD", START + 3_000 * BAR, START + 4_500 * BAR),
    amounts=ChartAmounts(patterns=60, none_share=0.6, drawings=20),
    networks=(SETTINGS["vit"],),
    seed=1,
)


def plan_candles() -> pl.DataFrame:
    """Two symbols, the second of which is held out."""
    return walk_candles(["BTCUSD", "ETHUSD"], bars=6_000, interval="30m", seed=12, start=START)
