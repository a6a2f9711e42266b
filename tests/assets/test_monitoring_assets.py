"""The drift report from the stored features to Slack: what drifted is told once, and a calm week is not."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, tracking_at
from fakes.releases import name_champion
from fakes.slack_server import Answer, SlackServer, slack_server
from fakes.tiny_bundle import START, TINY_FEATURES, walk_candles

from cryptoai_assets.defs.monitoring.assets import drift_report
from cryptoai_assets.defs.monitoring.sensors import outbox_is_delivered
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.releases import champion_forecaster
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.watch import Watched, newest_verdict, outcomes_of, watch
from cryptoai_serving.forecast_log import ForecastLog, LoggedForecast
from edge_bundle.alerts import Outbox
from edge_bundle.candles import bar_grid
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecast import Forecast, HorizonForecast

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]
HORIZONS = (1, 2, 6)
NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
PLANTED = "return_deviation_15"


@pytest.fixture(scope="session")
def dataset() -> pl.DataFrame:
    """Forty days of two symbols before the end of the champion's training, and twelve days after it."""
    candles = walk_candles(
        ["BTCUSD", "ETHUSD"], bars=52 * 48, interval="30m", seed=3, start=START - timedelta(days=40)
    )
    grid = bar_grid(candles, interval="30m", max_missing_bars=3)
    return feature_frame(grid, TINY_FEATURES).join(
        target_frame(grid, horizons=HORIZONS), on=["open_time", "symbol"], maintain_order="left"
    )


def drifted(dataset: pl.DataFrame, since: datetime = START) -> pl.DataFrame:
    """Three times the volatility, in the feature that measures it."""
    later = pl.col("open_time") >= since
    return dataset.with_columns(
        pl.when(later).then(pl.col(PLANTED) * 3).otherwise(pl.col(PLANTED)).alias(PLANTED)
    )


@pytest.fixture
def market(copied_registry: Callable[[], Path]) -> MarketResource:
    return MarketResource(name="sample", root=str(copied_registry()), time=NOW.isoformat())


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


def reported(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer, **asked: bool
) -> dg.ExecuteInProcessResult:
    market.home.training.mkdir(parents=True, exist_ok=True)
    write_parquet_atomically(dataset, market.home.training_dataset)
    decision = market.home.candidate / "decision.json"
    decision.parent.mkdir(parents=True, exist_ok=True)
    decision.write_text("{}")
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [drift_report],
            resources={"market": market, "alerts": AlertsResource(slack_webhook=slack.url)},
            instance=instance,
            **asked,
        )


def test_planted_drift_reaches_slack_once_with_what_drifted_and_a_link_to_the_run(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    result = reported(market, drifted(dataset), slack)
    reported(market, drifted(dataset), slack)
    [message] = slack.posted
    shown = json.dumps(message["blocks"])
    assert "Drift in sample: watch" in shown
    assert f"*{PLANTED}*" in shown
    assert "threshold" in shown
    assert f"/runs/{result.run_id}" in shown
    [event] = result.asset_materializations_for_node("drift_report")
    assert event.metadata["verdict"].value == "watch"
    page = Path(str(event.metadata["report_path"].value))
    assert PLANTED in page.read_text()


def test_calm_week_is_reported_and_told_to_nobody(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    assert reported(market, dataset, slack).success
    found = newest_verdict(market.home)
    assert found is not None
    assert (found.action, found.drifted) == ("keep", ())
    assert slack.requests == 0
    assert Outbox(market.home.alerts_database).alerts() == []


def test_slack_that_is_down_fails_no_run_and_gets_the_message_later(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    slack.will_answer(Answer(500))
    assert reported(market, drifted(dataset), slack).success
    assert slack.posted == []
    later = MarketResource(name="sample", root=market.root, time=(NOW + timedelta(minutes=5)).isoformat())
    for _ in range(2):
        context = dg.build_sensor_context(
            resources={"market": later, "alerts": AlertsResource(slack_webhook=slack.url)}
        )
        assert outbox_is_delivered(context) == dg.SkipReason("nothing waits")
    assert len(slack.posted) == 1


def test_without_a_release_there_is_nothing_to_compare_with(
    tmp_path: Path, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    market = MarketResource(name="sample", root=str(tmp_path))
    name_champion(tmp_path / "releases", MODEL, None)
    result = reported(market, dataset, slack, raise_on_error=False)
    [failure] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "nothing is released yet" in str(failure.step_failure_data.error)


def watched(market: MarketResource, frame: pl.DataFrame, promised: dict[int, float] | None = None) -> Watched:
    champion = champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    outcomes = outcomes_of(frame, market.settings)
    return watch(market.home, champion, frame, promised or {}, outcomes)


def test_third_drifted_window_in_a_row_asks_for_a_retrain_and_the_fourth_for_none(
    market: MarketResource, dataset: pl.DataFrame
) -> None:
    frame = drifted(dataset)
    ends = [START + timedelta(days=days) for days in (7, 8, 8, 9, 10)]
    found = [watched(market, frame.filter(pl.col("open_time") < end)) for end in ends]
    assert [each.verdict.window_end for each in found] == ends
    # The second window is judged twice, and counts once.
    assert [each.verdict.action for each in found] == ["watch", "watch", "watch", "retrain", "watch"]
    assert {each.report.drifted for each in found} == {(PLANTED,)}
    assert newest_verdict(market.home) == found[-1].verdict


def wrong_forecasts(dataset: pl.DataFrame, bundle: str) -> Iterator[LoggedForecast]:
    """Answers for one bar ahead that were wrong each time."""
    rows = dataset.filter(pl.col("open_time") >= START, pl.col("return_1").is_not_null())
    for row in rows.select("symbol", "open_time", "return_1").iter_rows(named=True):
        known_at = row["open_time"] + timedelta(minutes=30)
        ahead = HorizonForecast(1, 0.0, 0.4 if row["return_1"] > 0 else 0.6, 10.0, -20.0, 20.0)
        forecast = Forecast(
            row["symbol"], row["open_time"], known_at, "30m", MODEL, bundle, 0.9, (ahead,), None, None
        )
        request_id = f"{row['symbol']} {known_at}"
        yield LoggedForecast(forecast, 1, "champion", "store", known_at, 1.0, request_id)


@pytest.mark.parametrize(("bundle", "action"), [("champion", "retrain"), ("another", "keep")])
def test_promise_that_the_champion_broke_asks_for_a_retrain_and_is_told(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer, bundle: str, action: str
) -> None:
    champion = champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    tags = {f"final_stretch/h{horizon}/accuracy": "0.5600 [0.5500, 0.5700]" for horizon in HORIZONS}
    tracking_at(Path(market.root)).tag_version(MODEL, 1, tags)
    served = champion.digest if bundle == "champion" else "f" * 64
    with ForecastLog(market.home.forecasts_database) as log:
        log.write(list(wrong_forecasts(dataset, served)))
    reported(market, dataset, slack)
    found = newest_verdict(market.home)
    assert found is not None
    assert (found.action, found.drifted) == (action, ())
    titles = [message["blocks"][0]["text"]["text"] for message in slack.posted]
    assert titles == (["🚨 Fallen score in sample: retrain"] if action == "retrain" else [])
