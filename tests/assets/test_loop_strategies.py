"""The loop's mornings: a champion that its predecessor beats goes back, a harmful one is silenced."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from fakes.loop_market import PLAN, candles, replayed

from cryptoai_assets.evaluate.loop_market import DAY
from cryptoai_assets.evaluate.loop_strategies import Loop, Morning, Watch, answered
from cryptoai_assets.evaluate.loop_versions import Version, Versions

NOW = PLAN.live_start


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(replayed(candles()), tmp_path_factory.mktemp("versions"))


def served(versions: Versions, version: Version, start: datetime, end: datetime) -> pl.DataFrame:
    return answered(version, versions.market, start, end, silent=False)


def always_wrong(versions: Versions, champion: str, start: datetime, end: datetime) -> pl.DataFrame:
    """What a champion would have served that says the other direction each time."""
    wrong = pl.when(pl.col("return_bps") > 0).then(0.4).otherwise(0.6)
    happened = versions.market.outcomes(end).filter(pl.col("open_time") >= start)
    return happened.select("open_time", champion=pl.lit(champion), probability_up=wrong)


def test_a_champion_that_its_predecessor_beats_goes_back_once(versions: Versions) -> None:
    loop = Loop(versions, Watch(versions), recalibrates=False)
    before = versions.candidate(NOW - 10 * DAY)
    worse = versions.candidate(NOW - 4 * DAY)
    first = Morning.first(before.name, NOW - 10 * DAY, 0.5, promoted=True, reason="first version")
    promoted = replace(
        first, at=NOW - 4 * DAY, champion=worse.name, promoted_at=NOW - 4 * DAY, before=before.name
    )
    said = always_wrong(versions, worse.name, NOW - 4 * DAY, NOW)

    back = loop.morning(NOW, [first, promoted], said)
    assert back.verdict is not None
    assert back.verdict["action"] == "roll_back"
    assert (back.champion, back.before, back.trained) == (before.name, None, False)
    assert back.promised == first.promised

    after = loop.morning(NOW + DAY, [first, promoted, back], said)
    assert after.verdict is not None
    assert after.verdict["action"] != "roll_back"
    assert after.champion == before.name


def test_a_champion_that_is_as_good_as_its_predecessor_stays(versions: Versions) -> None:
    before = versions.candidate(NOW - 10 * DAY)
    now = versions.candidate(NOW - 4 * DAY)
    first = Morning.first(before.name, NOW - 10 * DAY, None, promoted=True, reason="first version")
    promoted = replace(
        first, at=NOW - 4 * DAY, champion=now.name, promoted_at=NOW - 4 * DAY, before=before.name
    )
    kept = Loop(versions, Watch(versions), recalibrates=False).morning(
        NOW, [first, promoted], served(versions, now, NOW - 4 * DAY, NOW)
    )
    assert kept.champion == now.name


def test_a_champion_that_stays_below_even_odds_is_silenced(versions: Versions) -> None:
    loop = Loop(versions, Watch(versions), recalibrates=False)
    start = NOW - 14 * DAY
    version = versions.candidate(start)
    # Nothing was promised, so that no retrain comes before the silence.
    mornings = [Morning.first(version.name, start, None, promoted=True, reason="first version")]
    for day in (-2, -1, 0):
        now = NOW + day * DAY
        said = always_wrong(versions, version.name, start, now)
        mornings.append(loop.morning(now, mornings, said))
    assert [morning.silent for morning in mornings] == [False, False, False, True]
    silent = answered(version, versions.market, NOW, NOW + DAY, silent=True)
    assert silent["probability_up"].null_count() == silent.height == DAY // PLAN.market.bar


def test_a_morning_is_read_as_it_was_kept() -> None:
    first = Morning.first("2018-02-15", NOW, 0.55, promoted=False, reason="first version")
    assert Morning.from_json(first.to_json()) == first
    assert first.kept(NOW + timedelta(days=1), "kept").trained is False
