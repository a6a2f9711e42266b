"""The drift report from the stored features to Slack: what drifted is told once, and a calm week is not."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, tracking_at
from fakes.releases import name_champion
from fakes.slack_server import Answer, SlackServer, slack_server
from fakes.tiny_bundle import START, TINY_FEATURES, walk_candles

from cryptoai_assets.defs.monitoring.assets import drift_report, hourly_drift, live_scores
from cryptoai_assets.defs.monitoring.schedules import verdict_every_day, watch_every_hour
from cryptoai_assets.defs.monitoring.sensors import outbox_is_delivered
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.ledger import acknowledge
from cryptoai_assets.lib.datasets import dataset as model_rows
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.live_scores import LIVE_NAME
from cryptoai_assets.lib.releases import champion_forecaster, write_json
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.watch import (
    FALSE_ALARMS_A_MONTH,
    HISTORY_NAME,
    Watched,
    better_predecessor,
    newest_verdict,
    watch,
)
from cryptoai_serving.forecast_log import ForecastLog, LoggedForecast
from edge_bundle.alerts import Outbox
from edge_bundle.candles import bar_grid
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecast import Forecast, HorizonForecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.releases import read_channel, read_stop, release_folder

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]
HORIZONS = (1, 2, 6)
NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
PLANTED = "return_deviation_15"
END = START + timedelta(days=12)


@pytest.fixture(scope="session")
def dataset() -> pl.DataFrame:
    """Sixty days of two symbols before the end of the champion's training, and twelve days after it."""
    candles = walk_candles(
        ["BTCUSD", "ETHUSD"], bars=72 * 48, interval="30m", seed=3, start=START - timedelta(days=60)
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
    """The champion's training is twelve days ago, and none is due."""
    return MarketResource(name="sample", root=str(copied_registry()), time=NOW.isoformat(), retrain_days=100)


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
    for link in ("|Evidently report>", "/#/compare-model-versions?", "|Acknowledge or snooze>"):
        assert link in shown
    assert "*forecasts*\\nnone was asked for" in shown
    [alert] = Outbox(market.home.alerts_database).alerts()
    assert alert.picture is not None
    assert alert.picture.startswith(b"\x89PNG")
    [event] = result.asset_materializations_for_node("drift_report")
    assert event.metadata["verdict"].value == "watch"
    page = Path(str(event.metadata["report_path"].value))
    assert PLANTED in page.read_text()


def test_relation_that_turns_is_told_apart_and_watched_and_told_once_while_it_lasts(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    # The feature says what comes: first the same, then the opposite.
    told = pl.col("log_return_1").abs() * pl.col("return_1").sign()
    turned = dataset.with_columns(
        pl.when(pl.col("open_time") >= START).then(-told).otherwise(told).alias("log_return_1")
    )
    for days in (10, 11):
        result = reported(market, turned.filter(pl.col("open_time") < START + timedelta(days=days)), slack)
    found = newest_verdict(market.home)
    assert found is not None
    assert found.action == "watch"
    assert found.evidence.drifted == ()
    assert found.evidence.told_apart[0].startswith("relation: log_return_1")
    [event] = result.asset_materializations_for_node("drift_report")
    assert {"then_from_now", "what_tells_then_from_now", "largest_shares"} <= set(event.metadata)
    [message] = slack.posted
    shown = json.dumps(message["blocks"])
    assert "Drift in sample: watch" in shown
    assert "relation: log_return_1" in shown


def test_drift_that_is_over_is_resolved_and_reminded_of_no_more(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    reported(market, drifted(dataset), slack)
    outbox = Outbox(market.home.alerts_database)
    assert [kept.state for kept in outbox.kept()] == ["open"]
    reported(market, dataset, slack)
    assert [kept.state for kept in outbox.kept()] == ["resolved"]


def test_calm_week_is_reported_and_told_to_nobody(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    assert reported(market, dataset, slack).success
    found = newest_verdict(market.home)
    assert found is not None
    assert (found.action, found.evidence.drifted) == ("keep", ())
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
        alerts = AlertsResource(slack_webhook=slack.url)
        with dg.build_sensor_context(resources={"market": later, "alerts": alerts}) as context:
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


def watched(market: MarketResource, frame: pl.DataFrame, champion: Forecaster | None = None) -> Watched:
    champion = champion or champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    return watch(
        market.home,
        champion,
        frame,
        false_alarms_a_month=FALSE_ALARMS_A_MONTH,
        policy=market.verdict_policy,
    )


def test_third_drifted_window_in_a_row_asks_for_a_retrain_and_the_fourth_for_none(
    market: MarketResource, dataset: pl.DataFrame
) -> None:
    frame = drifted(dataset)
    ends = [START + timedelta(days=days) for days in (7, 8, 8, 9, 10)]
    found = [watched(market, frame.filter(pl.col("open_time") < end)) for end in ends]
    assert [each.verdict.evidence.window_end for each in found] == ends
    # The second window is judged twice, and counts once.
    assert [each.verdict.action for each in found] == ["watch", "watch", "watch", "retrain", "watch"]
    assert {each.report.drifted for each in found} == {(PLANTED,)}
    assert newest_verdict(market.home) == found[-1].verdict


def trained_every(days: int, market: MarketResource) -> MarketResource:
    return MarketResource(name=market.name, root=market.root, time=market.time, retrain_days=days)


@pytest.mark.parametrize(("days", "action"), [(1, "keep"), (0, "retrain")])
def test_training_is_due_that_many_days_after_the_champion_s_own_without_any_evidence(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer, days: int, action: str
) -> None:
    champion = champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    since = END - datetime.fromisoformat(champion.manifest.as_of)
    reported(trained_every(since.days + days, market), dataset, slack)
    found = newest_verdict(market.home)
    assert found is not None
    assert (found.action, found.trains, found.evidence.drifted) == (action, action == "retrain", ())
    assert (f"the last training is {since.days} days ago" in found.reason) == found.trains


def test_window_that_is_judged_again_of_the_champion_which_its_training_brought_still_cools_down(
    market: MarketResource, dataset: pl.DataFrame
) -> None:
    weekly, frame = trained_every(7, market), drifted(dataset)
    assert watched(weekly, frame).verdict.trains
    # Its training is through before the next bar closes.
    trained = Path(market.root) / "trained"
    shutil.copytree(release_folder(market.home.releases, MODEL, 1), trained)
    replace(Manifest.read(trained), as_of=END.isoformat()).write(trained)
    again = watched(weekly, frame, Forecaster.load(trained))
    assert (again.verdict.evidence.window_end, again.verdict.trains) == (END, False)
    [line] = json.loads((market.home.monitoring / HISTORY_NAME).read_bytes()).values()
    assert line["trains"]


@pytest.mark.parametrize(("days", "action"), [(3, "keep"), (2, "retrain")])
def test_training_that_an_earlier_version_of_this_code_asked_for_is_counted_from(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer, days: int, action: str
) -> None:
    champion = champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    line = {"champion": champion.digest, "drifted": False, "harmful": False, "action": "retrain"}
    history = {(END - timedelta(days=2)).isoformat(): line}
    write_json(market.home.monitoring / HISTORY_NAME, history)
    reported(trained_every(days, market), dataset, slack)
    found = newest_verdict(market.home)
    assert found is not None
    assert found.action == action


def wrong_forecasts(
    dataset: pl.DataFrame, bundle: str, *, version: int = 1, certainty: float = 0.6
) -> Iterator[LoggedForecast]:
    """Answers for one bar ahead that were wrong each time."""
    rows = dataset.filter(pl.col("open_time") >= START, pl.col("return_1").is_not_null())
    for row in rows.select("symbol", "open_time", "return_1").iter_rows(named=True):
        known_at = row["open_time"] + timedelta(minutes=30)
        ahead = HorizonForecast(
            1, 0.0, 1 - certainty if row["return_1"] > 0 else certainty, 10.0, -20.0, 20.0
        )
        forecast = Forecast(
            row["symbol"], row["open_time"], known_at, "30m", MODEL, bundle, 0.9, (ahead,), None, None
        )
        request_id = f"{row['symbol']} {known_at}"
        yield LoggedForecast(forecast, version, "champion", "store", known_at, 1.0, request_id)


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
    assert (found.action, found.evidence.drifted) == (action, ())
    titles = [message["blocks"][0]["text"]["text"] for message in slack.posted]
    assert titles == (["🚨 Fallen score in sample: retrain"] if action == "retrain" else [])


def log_wrong(market: MarketResource, dataset: pl.DataFrame, *, version: int, certainty: float) -> None:
    """Keep forecasts of the champion that were wrong each time."""
    champion = champion_forecaster(market.home.releases, MODEL)
    assert champion is not None
    answers = wrong_forecasts(dataset, champion.digest, version=version, certainty=certainty)
    with ForecastLog(market.home.forecasts_database) as log:
        log.write(list(answers))


def champion_version(market: MarketResource) -> int:
    channel = read_channel(market.home.releases, MODEL)
    assert channel is not None
    assert channel.champion is not None
    return channel.champion.version


def promote_second(market: MarketResource) -> None:
    market.home.release_desk.promote(MODEL, 2, actor="gate", reason="better", numbers={}, at=NOW)


def test_champion_that_its_predecessor_beats_is_rolled_back_once_and_told(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    promote_second(market)
    lately = dataset.filter(pl.col("open_time") < START + timedelta(days=6))
    log_wrong(market, lately, version=2, certainty=0.95)
    reported(market, lately, slack)
    assert champion_version(market) == 1
    line = market.home.ledger.entries(MODEL)[-1]
    assert (line.kind, line.version, line.previous, line.actor) == ("rollback", 1, 2, "monitoring")
    assert "version 1 scores higher on the same rows" in line.reason
    [message] = slack.posted
    assert message["blocks"][0]["text"]["text"] == "🚨 Fallen score in sample: roll back"
    reported(market, lately, slack)
    assert champion_version(market) == 1
    assert market.home.ledger.entries(MODEL)[-1] == line


@pytest.mark.parametrize(("certainty", "days", "why"), [(0.5, 6, "as good"), (0.95, 9, "watched no more")])
def test_champion_stays_that_is_no_worse_or_has_passed_its_time_of_watch(
    market: MarketResource, dataset: pl.DataFrame, certainty: float, days: int, why: str
) -> None:
    promote_second(market)
    lately = dataset.filter(pl.col("open_time") < START + timedelta(days=days))
    log_wrong(market, lately, version=2, certainty=certainty)
    assert watched(market, lately).verdict.evidence.worse_than is None, why


def test_champion_that_is_as_good_as_its_predecessor_but_for_chance_stays(
    market: MarketResource, dataset: pl.DataFrame
) -> None:
    promote_second(market)
    lately = dataset.filter(pl.col("open_time") < START + timedelta(days=6))
    before = Forecaster.load(release_folder(market.home.releases, MODEL, 1))
    rows = model_rows(
        lately, lately, TINY_FEATURES, lookback=before.manifest.lookback, bar=market.settings.bar
    )
    said = graph_predictions(before, rows.between(START, None)).probability_up[:, 0]
    # Both ways off the predecessor's, by as much: neither is better.
    nearly = np.clip(said + np.where(np.arange(len(said)) % 2, 1e-3, -1e-3), 0.001, 0.999)
    scored = (
        rows.between(START, None)
        .keys.with_columns(
            known_at=pl.col("open_time") + market.settings.bar,
            horizon_bars=pl.lit(1, pl.Int64),
            probability_up=pl.Series(nearly),
            abstention=pl.lit(None, pl.String),
            return_bps=pl.Series(1e4 * rows.between(START, None).target("return", 1)),
        )
        .filter(pl.col("return_bps").is_not_nan())
    )
    end = START + timedelta(days=6)
    assert better_predecessor(market.home, scored, lately, end) is None
    worse = scored.with_columns(probability_up=pl.when(pl.col("return_bps") > 0).then(0.01).otherwise(0.99))
    assert better_predecessor(market.home, worse, lately, end) == 1


def test_champion_below_even_odds_has_to_be_silent_until_somebody_answers_for_it(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    log_wrong(market, dataset, version=1, certainty=0.6)
    ends = [START + timedelta(days=days) for days in (10.6, 11, 11.4)]
    actions = []
    for end in ends:
        reported(market, dataset.filter(pl.col("open_time") < end), slack)
        found = newest_verdict(market.home)
        assert found is not None
        actions.append(found.action)
        silent = read_stop(market.home.releases, MODEL, 1)
        assert (silent is not None) == (found.action == "stop")
    assert actions[-1] == "stop"
    assert "stop" not in actions[:-1]
    home = market.home
    assert [line.actor for line in home.ledger.entries(MODEL) if line.kind == "stop"] == ["monitoring"]
    acknowledge(home.ledger, model=MODEL, version=1, name="Ada", reason="the venue was down", at=NOW)
    home.release_desk.reconcile(MODEL, NOW)
    assert read_stop(home.releases, MODEL, 1) is None
    # Who answered for it is not asked again on the same ground.
    reported(market, dataset.filter(pl.col("open_time") < ends[-1]), slack)
    assert read_stop(home.releases, MODEL, 1) is None


def made(
    market: MarketResource, asset: dg.AssetsDefinition, dataset: pl.DataFrame, slack: SlackServer
) -> dict[str, dg.MetadataValue[object]]:
    """Metadata of an asset that was materialized from a stored dataset."""
    market.home.training.mkdir(parents=True, exist_ok=True)
    write_parquet_atomically(dataset, market.home.training_dataset)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset],
            resources={"market": market, "alerts": AlertsResource(slack_webhook=slack.url)},
            instance=instance,
        )
    [event] = result.asset_materializations_for_node(asset.op.name)
    return dict(event.metadata)


def test_feature_that_freezes_is_told_within_the_hour_and_once(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    assert made(market, hourly_drift, dataset, slack)["drifted"].value == 0
    assert slack.posted == []
    since = dataset["open_time"].max() - timedelta(hours=1)
    late = (pl.col("symbol") == "BTCUSD") & (pl.col("open_time") >= since)
    frozen = dataset.with_columns(pl.when(late).then(0.002).otherwise(pl.col(PLANTED)).alias(PLANTED))
    for _ in range(2):
        metadata = made(market, hourly_drift, frozen, slack)
    assert metadata["drifted"].value == 1
    assert PLANTED in Path(str(metadata["report_path"].value)).read_text()
    [message] = slack.posted
    shown = json.dumps(message["blocks"])
    assert "Drift within the hour in sample" in shown
    assert f"{PLANTED} of BTCUSD" in shown
    assert "still" in shown


def test_days_too_few_before_the_release_are_told_and_judge_nothing(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    short = dataset.filter(pl.col("open_time") >= START - timedelta(days=10))
    assert "too few days" in str(made(market, hourly_drift, short, slack)["found"].value)


def test_live_scores_are_shown_with_promise_baseline_and_a_picture(
    market: MarketResource, dataset: pl.DataFrame, slack: SlackServer
) -> None:
    tags = {"final_stretch/h1/accuracy": "0.5600 [0.5500, 0.5700]"}
    tracking_at(Path(market.root)).tag_version(MODEL, 1, tags)
    log_wrong(market, dataset, version=1, certainty=0.6)
    metadata = made(market, live_scores, dataset, slack)
    assert str(metadata["accuracy"].value).startswith("![](data:image/png;base64,")
    kept = pl.read_parquet(market.home.monitoring / LIVE_NAME)
    row = kept.filter(metric="accuracy", symbol="BTCUSD", window="7 days").row(0, named=True)
    assert (row["value"], row["promised"], row["rows"]) == (0.0, 0.56, 336)
    assert row["best_baseline"] in ("zero", "majority", "last_sign_reversal")
    with ForecastLog(market.home.forecasts_database) as log:
        known = log.outcomes(model=MODEL)
    assert known.height == dataset.filter(pl.col("open_time") >= START)["return_1"].count()


@pytest.mark.parametrize("schedule", [watch_every_hour, verdict_every_day])
def test_nothing_is_watched_before_the_first_release(
    tmp_path: Path, market: MarketResource, schedule: dg.ScheduleDefinition
) -> None:
    with dg.build_schedule_context(
        resources={"market": MarketResource(name="sample", root=str(tmp_path))}
    ) as context:
        assert schedule(context) == dg.SkipReason("nothing is released yet")
    with dg.build_schedule_context(resources={"market": market}) as context:
        assert isinstance(schedule(context), dg.RunRequest)
