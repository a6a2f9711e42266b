"""The replay of the loop: half-hours of ten days, kept day by day, and blind for what comes later."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.loop_market import BAR, PLAN, candles, replayed
from polars.testing import assert_frame_equal

from cryptoai_assets.evaluate.loop import LoopStudy, Replay
from cryptoai_assets.evaluate.loop_market import DAY, EarlyKnowledgeError
from cryptoai_assets.evaluate.loop_scores import trainings
from cryptoai_assets.evaluate.loop_strategies import DAILY, EVERYTHING, LOOP, MOVING, NEVER
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.training import known_dataset

Cheat = Callable[[pl.DataFrame, Sequence[str], Market, datetime], Dataset]


class KilledError(Exception):
    """Ends a replay after a day."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> LoopStudy:
    return LoopStudy(replayed(candles()), tmp_path_factory.mktemp("study"), "candles of a test")


@pytest.fixture(scope="module")
def replay(study: LoopStudy) -> Replay:
    return study.replayed(lambda _: None)


def assert_same(found: Replay, known: Replay, *, days: int) -> None:
    end = PLAN.live_start + days * DAY
    for name in known.mornings:
        assert found.mornings[name][:days] == known.mornings[name][:days]
        assert_frame_equal(
            found.served[name].filter(pl.col("open_time") < end),
            known.served[name].filter(pl.col("open_time") < end),
        )


def test_never_trains_once_and_daily_every_day(replay: Replay) -> None:
    assert trainings(replay.mornings[NEVER]) == 0
    assert {morning.champion for morning in replay.mornings[NEVER]} == {f"{PLAN.live_start:%Y-%m-%d}"}
    for name in (DAILY, EVERYTHING):
        assert trainings(replay.mornings[name]) == PLAN.live_days - 1
        assert len({morning.champion for morning in replay.mornings[name]}) == PLAN.live_days


def test_the_loop_trains_when_its_verdict_says_so_and_not_twice_within_the_cool_down(replay: Replay) -> None:
    for name in (LOOP, MOVING):
        mornings = replay.mornings[name]
        asked = [one.at for one in mornings if (one.verdict or {}).get("action") == "retrain"]
        assert asked == [one.at for one in mornings[1:] if one.trained]
        assert len(asked) == trainings(mornings) == 1
        promoted = next(one for one in mornings if one.at == asked[0])
        assert promoted.promoted
        assert promoted.champion == f"{asked[0]:%Y-%m-%d}"
        assert promoted.before == mornings[0].champion


def test_a_training_of_a_day_is_done_once_for_all_strategies(study: LoopStudy, replay: Replay) -> None:
    assert trainings(replay.mornings[LOOP]) > 0
    assert len(list(study.versions.folder.iterdir())) == 2 * PLAN.live_days


def test_every_strategy_answers_the_same_minutes(replay: Replay) -> None:
    known = replay.served[NEVER]["open_time"]
    assert known[0] >= PLAN.live_start
    for served in replay.served.values():
        assert served["open_time"].equals(known)


def test_a_replay_that_is_killed_goes_on_with_the_day_that_it_lost(
    study: LoopStudy, replay: Replay, tmp_path: Path
) -> None:
    days = 4
    plan = replace(PLAN, live_days=days)
    killed = replace(study, root=tmp_path, market=replace(study.market, plan=plan))
    told: list[str] = []

    def die_on_the_second_day_of_daily(line: str) -> None:
        told.append(line)
        if len(told) == days + 2:
            raise KilledError

    with pytest.raises(KilledError):
        killed.replayed(die_on_the_second_day_of_daily)
    kept = {path: path.stat().st_mtime_ns for path in killed.folder.rglob("20*")}
    assert len(kept) == 2 * (days + 2)
    # Killed between the answers of the third day and its record, which is what counts.
    lost = killed.folder / DAILY / f"{PLAN.live_start + 2 * DAY:%Y-%m-%d}.parquet"
    lost.write_bytes(b"half a file")

    assert_same(killed.replayed(lambda _: None), replay, days=days)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_comes_later_changes_nothing_before(study: LoopStudy, replay: Replay, tmp_path: Path) -> None:
    days = 3
    known = candles()
    end = PLAN.live_start + (days - 1) * DAY
    before, first = known.filter(pl.col("open_time").is_between(end - BAR, end))["close"]
    prices = pl.col("open", "high", "low", "close")
    later = pl.col("open_time") >= end
    # What was a rise over the midnight becomes a fall, or the other way round.
    other = known.with_columns(
        pl.when(later).then(prices * (0.5 if first > before else 1.5)).otherwise(prices),
        volume=pl.when(later).then(pl.col("volume") * 3).otherwise(pl.col("volume")),
    )
    blind = LoopStudy(replayed(other, replace(PLAN, live_days=days)), tmp_path, "other candles")
    found = blind.replayed(lambda _: None)

    assert_same(found, replay, days=days - 1)
    # At the last midnight, too, everything is decided and trained on the bars before it.
    for name, mornings in replay.mornings.items():
        assert found.mornings[name][days - 1] == mornings[days - 1]
    trained = sorted(blind.versions.folder.iterdir())
    assert len(trained) == 2 * days
    for path in trained:
        assert path.read_bytes() == (study.versions.folder / path.name).read_bytes()


def one_bar_early(frame: pl.DataFrame, names: Sequence[str], market: Market, as_of: datetime) -> Dataset:
    return known_dataset(frame, names, market, as_of + BAR)


def outcomes_early(frame: pl.DataFrame, names: Sequence[str], market: Market, as_of: datetime) -> Dataset:
    told = known_dataset(frame, names, market, as_of + timedelta(days=1))
    return told.between(None, as_of)


@pytest.mark.parametrize("cheat", [one_bar_early, outcomes_early], ids=["a bar", "an outcome"])
def test_a_strategy_that_peeks_a_horizon_ahead_is_caught(
    cheat: Cheat, study: LoopStudy, tmp_path: Path
) -> None:
    peeking = replace(study, root=tmp_path, market=replace(study.market, known_rows=cheat))
    with pytest.raises(EarlyKnowledgeError, match=r"at 2018-05-01 00:00 .* was known [12] bars later"):
        peeking.replayed(lambda _: None)


def test_rows_table_days_and_picture_are_written(study: LoopStudy, replay: Replay, tmp_path: Path) -> None:
    rows = {row.name: row for row in study.rows(lambda _: None, results=tmp_path, commit="abc")}
    assert rows["loop/accuracy-of-loop-less-daily"].goal == -0.003
    assert rows["loop/accuracy-of-loop-less-never"].goal == 0.0
    assert rows["loop/trainings-loop"].value == trainings(replay.mornings[LOOP])
    assert rows["loop/trainings-loop"].met

    place = tmp_path / "loop-half-hours"
    told = place.with_suffix(".md").read_text()
    assert "`make evaluate ONLY=loop SYMBOL=BTCUSD` at `abc`" in told
    assert "trained, promoted" in told
    with place.with_suffix(".csv").open() as file:
        days = list(csv.DictReader(file))
    assert [row["day"] for row in days] == [f"{now:%Y-%m-%d}" for now in PLAN.midnights]
    assert place.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
