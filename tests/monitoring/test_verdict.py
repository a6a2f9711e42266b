"""The verdict: what persists is acted upon, once a cause, the worst first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_monitoring.verdict import Evidence, Judged, Verdict, VerdictPolicy, verdict

DAY = timedelta(days=1)
START = datetime(2019, 9, 1, tzinfo=UTC)
POLICY = VerdictPolicy(persistence=3, windows=3, cool_down=7 * DAY, release=0.8, fallback=None)
CALM = Evidence(START, "champion", START, (), 0.5, 3, "unknown", None, harmful=False)
DRIFT = replace(CALM, drifted=("return_1",), excess=2.0)
# What a day shows, by letter.
DAYS = {
    ".": CALM,
    "d": DRIFT,
    "s": replace(CALM, standing="fell"),
    "b": replace(DRIFT, standing="fell"),
    "h": replace(DRIFT, standing="holds"),
    "g": replace(DRIFT, standing="sags"),
    "e": replace(CALM, excess=0.9),
    "x": replace(CALM, harmful=True, standing="fell"),
    "w": replace(CALM, worse_than=4),
    "n": replace(CALM, champion="another", trained_at=START + 5 * DAY),
    "t": replace(CALM, told_apart=("relation: return_1",)),
    "u": replace(DRIFT, told_apart=("state: return_1",)),
}


def judge(found: Evidence, *, day: int = 0, earlier: Sequence[Judged] = ()) -> Verdict:
    found = replace(found, window_end=START + day * DAY)
    return verdict(found, model="m", earlier=earlier, policy=POLICY)


def lived_through(days: str, *, policy: VerdictPolicy = POLICY) -> list[Verdict]:
    """Verdicts of days one after the other, each knowing those before it."""
    verdicts: list[Verdict] = []
    for day, letter in enumerate(days):
        found = replace(DAYS[letter], window_end=START + day * DAY)
        earlier = [one.judged for one in verdicts]
        verdicts.append(verdict(found, model="m", earlier=earlier, policy=policy))
    return verdicts


def actions(days: str, *, policy: VerdictPolicy = POLICY) -> str:
    """First letter of each day's action; of a roll-back a capital."""
    letters = {"roll_back": "R"}
    return "".join(letters.get(one.action, one.action[0]) for one in lived_through(days, policy=policy))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("....", "kkkk"),
        ("d...", "wkkk"),
        ("d.d.d.d.", "wkwkwkwk"),
        ("ddd", "wwr"),
        ("s", "r"),
        ("b", "r"),
        ("db", "wr"),
        # A drift that stays asks once, however long; a fallen score asks again after the cool-down.
        ("d" * 40, "wwr" + "w" * 37),
        ("ddd" + "d" * 6 + "b", "wwr" + "w" * 6 + "r"),
        ("ddd" + "b" * 14, "wwr" + "wwwwww" + "r" + "wwwwww" + "r"),
        # After a calm window it is another drift.
        ("ddd" + "....." + "ddd", "wwr" + "kkkkk" + "wwr"),
        # Within the cool-down even that waits.
        ("ddd.ddd", "wwrkwww"),
        # While the score is shown to hold, drift is watched; a score that sags is evidence beside it.
        ("hhhhh", "wwwww"),
        ("ggg", "wwr"),
        # A drift that is nearly over is not over, and one that never began does not begin so.
        ("ded", "wwr"),
        ("eee", "kkk"),
        ("d.d", "wkw"),
        # What a classifier alone tells is watched, however long; it takes nothing from a drift beside it.
        ("tttttt.", "wwwwwwk"),
        ("uuu", "wwr"),
        ("ttd", "www"),
        # Silence needs persistence as well, by the same champion, and beats a retrain.
        ("xx", "rw"),
        ("xxx", "rws"),
        ("x.x", "rkw"),
        ("xnx", "rkw"),
        # A predecessor that does better is brought back at once.
        ("w", "R"),
        ("ddw", "wwR"),
    ],
)
def test_days_lead_to_actions(days: str, expected: str) -> None:
    assert actions(days) == expected


def test_k_of_n_windows_persist_though_calm_ones_lie_between() -> None:
    loose = replace(POLICY, windows=5)
    assert actions("d.d.d", policy=loose) == "wkwkr"
    assert actions("d..d..d", policy=loose) == "wkkwkkw"
    # The same drift goes on through two calm windows, and has had its retrain; a third one ends it.
    assert actions("d.d.d" + ".." + "dd", policy=replace(loose, cool_down=DAY)) == "wkwkr" + "kk" + "ww"
    assert actions("ddd" + "..." + "ddd", policy=replace(loose, cool_down=DAY)) == "wwr" + "kkk" + "wwr"


def test_training_is_due_without_evidence_after_the_fallback() -> None:
    weekly = replace(POLICY, fallback=7 * DAY)
    assert actions("." * 22, policy=weekly) == "kkkkkkkr" + "kkkkkkr" + "kkkkkkr"
    # A retrain with a cause is one; a champion that is new needs none.
    assert actions("s" + "." * 7, policy=weekly) == "r" + "kkkkkkr"
    assert actions("....." + "n" * 8, policy=weekly) == "kkkkk" + "kkkkkkkr"


@pytest.mark.parametrize("every", [1, 3, 7])
@pytest.mark.parametrize("promoted", [True, False])
def test_training_is_due_every_so_many_days_though_it_takes_hours_and_verdicts_come_a_minute_sooner_or_later(
    every: int, promoted: bool
) -> None:
    policy = replace(POLICY, cool_down=every * DAY, fallback=every * DAY)
    champion, trained_at, asked = "first", START + timedelta(hours=3), []
    verdicts: list[Verdict] = []
    for day in range(22):
        end = START + day * DAY + timedelta(minutes=90 - day % 3)
        evidence = replace(CALM, window_end=end, champion=champion, trained_at=trained_at)
        earlier = [one.judged for one in verdicts]
        verdicts.append(verdict(evidence, model="m", earlier=earlier, policy=policy))
        if verdicts[-1].trains:
            asked.append(day)
            if promoted:
                champion, trained_at = f"of day {day}", end + timedelta(minutes=20)
    assert asked == list(range(every, 22, every))


def test_day_is_one_of_the_calendar_in_utc() -> None:
    weekly = replace(POLICY, fallback=7 * DAY)
    ends = {START + 7 * DAY - timedelta(minutes=1): "keep", START + 7 * DAY: "retrain"}
    for end, action in ends.items():
        for zone in (UTC, timezone(timedelta(hours=-5))):
            found = replace(CALM, window_end=end.astimezone(zone), trained_at=START + timedelta(hours=20))
            assert verdict(found, model="m", earlier=(), policy=weekly).action == action


def test_silenced_champion_has_trainings_asked_for_outside_of_the_cool_down_until_it_is_replaced() -> None:
    # The first fallen score has had its training; the next ones are asked for while it has to be silent.
    verdicts = lived_through("x" * 17 + "n")
    assert [one.action[0] for one in verdicts] == list("rw" + "s" * 15 + "k")
    assert [day for day, one in enumerate(verdicts) if one.trains] == [0, 7, 14]
    assert len({one.cause for one in verdicts if one.trains}) == 3


def test_silence_without_an_earlier_training_asks_for_one_at_once() -> None:
    harmful = replace(DAYS["x"], standing="unknown")
    before = [judge(harmful, day=day).judged for day in (0, 1)]
    stopped = judge(harmful, day=2, earlier=before)
    assert (stopped.action, stopped.trains) == ("stop", True)
    assert Verdict.from_dict(stopped.to_dict()) == stopped
    after = judge(harmful, day=3, earlier=[*before, stopped.judged])
    assert (after.action, after.trains) == ("stop", False)


def test_verdict_of_an_earlier_version_of_this_code_is_read() -> None:
    for action, trains in (("retrain", True), ("stop", False)):
        record = {**judge(DAYS["d"], day=3).to_dict(), "action": action}
        del record["trains"], record["trained_at"]
        found = Verdict.from_dict(record)
        assert (found.trains, found.evidence.trained_at) == (trains, START + 3 * DAY)


@given(days=st.text(sorted(DAYS), max_size=40), every=st.integers(1, 9), persistence=st.integers(1, 4))
def test_no_training_is_asked_for_within_the_cool_down_and_a_calm_market_is_never_without_one_for_longer(
    days: str, every: int, persistence: int
) -> None:
    policy = replace(POLICY, persistence=persistence, windows=4, cool_down=every * DAY, fallback=every * DAY)
    found = lived_through(days, policy=policy)
    asked = [day for day, one in enumerate(found) if one.trains]
    assert all(later - sooner >= every for sooner, later in pairwise(asked))
    # Whoever is not rolled back is trained anew, whatever the days show.
    since = [0, *asked, len(days)]
    for sooner, later in pairwise(since):
        rolled_back = sum(one.action == "roll_back" for one in found[sooner:later])
        if not rolled_back and "n" not in days:
            assert later - sooner <= every


@pytest.mark.parametrize(
    ("days", "expected"),
    [("h" * 9, "wwwwwwwrw"), ("d" * 10, "wwrwwwwwwr")],
    ids=["while the score holds", "after its retrain"],
)
def test_a_market_that_drifts_is_trained_on_no_less_often_than_a_calm_one(days: str, expected: str) -> None:
    assert actions(days, policy=replace(POLICY, fallback=7 * DAY)) == expected


def test_verdict_names_what_drifted_with_the_largest_excess_first() -> None:
    found = judge(replace(DRIFT, drifted=("volume_ratio_60", "return_1")))
    assert "2 of 3 features drifted, most of all volume_ratio_60" in found.reason


def test_fallen_score_is_evidence_without_any_drift() -> None:
    found = judge(DAYS["s"])
    assert (found.action, found.drifting) == ("retrain", False)
    assert found.reason == "the live score fell below what was promised"


def test_roll_back_names_the_version_that_does_better() -> None:
    assert "version 4 scores higher on the same rows" in judge(DAYS["w"]).reason


def test_drift_that_lasts_is_one_cause_for_a_person_and_one_for_the_retrain() -> None:
    causes = [found.cause for found in lived_through("d" * 20)]
    assert list(dict.fromkeys(causes)) == ["watch:m:2019-09-01T00:00", "retrain:m:2019-09-03T00:00"]


def test_what_a_classifier_tells_is_one_cause_until_it_tells_nothing_any_more() -> None:
    told = lived_through("ttt.tt")
    causes = [found.cause for found in told if found.action == "watch"]
    assert list(dict.fromkeys(causes)) == ["watch:m:2019-09-01T00:00", "watch:m:2019-09-05T00:00"]
    assert "told from the training rows by relation: return_1" in told[0].reason
    assert Verdict.from_dict(told[0].to_dict()) == told[0]


def test_each_retrain_has_a_cause_of_its_own() -> None:
    causes = [found.cause for found in lived_through("b" * 15) if found.action == "retrain"]
    assert len(causes) == len(set(causes)) == 3


def test_window_that_is_judged_again_has_the_same_verdict() -> None:
    first = judge(DAYS["b"], day=5)
    again = judge(DAYS["b"], day=5, earlier=[first.judged])
    assert again == first


def test_verdict_of_one_window_is_enough_when_the_policy_says_so() -> None:
    assert actions("d", policy=replace(POLICY, persistence=1, windows=1)) == "r"
