"""The loop's mornings: a champion that its predecessor beats goes back, a harmful one is silenced."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from fakes.loop_market import PLAN, candles, replayed

from cryptoai_assets.evaluate.loop_market import DAY
from cryptoai_assets.evaluate.loop_strategies import LOOP, Loop, Morning, Watch, answered
from cryptoai_assets.evaluate.loop_versions import Version, Versions

NOW = PLAN.live_start


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(replayed(candles()), tmp_path_factory.mktemp("versions"))


def loop_of(versions: Versions, *, retrain_days: int = 100) -> Loop:
    return Loop(versions, Watch(versions), LOOP, recalibrates=False, retrain_days=retrain_days)


def served(versions: Versions, version: Version, start: datetime, end: datetime) -> pl.DataFrame:
    return answered(version, versions.market, start, end, silent=False)


def always_wrong(versions: Versions, champion: str, start: datetime, end: datetime) -> pl.DataFrame:
    """What a champion would have served that says the other direction each time."""
    wrong = pl.when(pl.col("return_bps") > 0).then(0.4).otherwise(0.6)
    happened = versions.market.outcomes(end).filter(pl.col("open_time") >= start)
    return happened.select("open_time", champion=pl.lit(champion), probability_up=wrong)


def test_a_champion_that_its_predecessor_beats_goes_back_once(versions: Versions) -> None:
    loop = loop_of(versions)
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
    kept = loop_of(versions).morning(NOW, [first, promoted], served(versions, now, NOW - 4 * DAY, NOW))
    assert kept.champion == now.name


def test_a_champion_that_stays_below_even_odds_is_silenced_and_replaced_after_the_cool_down(
    versions: Versions,
) -> None:
    loop = loop_of(versions, retrain_days=16)
    start = NOW - 14 * DAY
    version = versions.candidate(start)
    # Nothing was promised, so that no fallen score comes before the silence.
    first = Morning.first(version.name, start, None, promoted=True, reason="first version")
    nothing = always_wrong(versions, version.name, start, start)
    asked = loop.verdict(start, [first], nothing)
    mornings = [replace(first, verdict=replace(asked, action="retrain", trains=True).to_dict())]
    for day in (-2, -1, 0, 1, 2):
        now = NOW + day * DAY
        said = always_wrong(versions, version.name, start, min(now, NOW))
        mornings.append(loop.morning(now, mornings, said))
    actions = [(morning.verdict or {})["action"] for morning in mornings]
    assert actions == ["retrain", "watch", "watch", "stop", "stop", "stop"]
    assert [morning.silent for morning in mornings] == [False, False, False, True, True, False]
    replaced = mornings[-1]
    assert (replaced.trained, replaced.promoted) == (True, True)
    assert (replaced.champion, replaced.before) == (f"{replaced.at:%Y-%m-%d}", version.name)
    silent = answered(version, versions.market, NOW, NOW + DAY, silent=True)
    assert silent["probability_up"].null_count() == silent.height == DAY // PLAN.market.bar


def test_a_morning_is_read_as_it_was_kept() -> None:
    first = Morning.first("2018-02-15", NOW, 0.55, promoted=False, reason="first version")
    assert Morning.from_json(first.to_json()) == first
    assert first.kept(NOW + timedelta(days=1), "kept").trained is False
