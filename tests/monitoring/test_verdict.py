"""The verdict: drift must last or come with a fallen score, and one drift asks for one retrain."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cryptoai_monitoring.verdict import Judged, Verdict, VerdictPolicy, verdict

DAY = timedelta(days=1)
START = datetime(2019, 9, 1, tzinfo=UTC)
POLICY = VerdictPolicy(persistence=3, cool_down=7 * DAY)


def table(*drifted: str) -> pl.DataFrame:
    features = ["return_1", "rsi_14", "volume_ratio_60"]
    return pl.DataFrame(
        {
            "feature": features,
            "excess": [2.0 + place if name in drifted else 0.5 for place, name in enumerate(features)],
            "drifted": [name in drifted for name in features],
        }
    )


def judge(
    day: int,
    *,
    drifted: Sequence[str] = ("return_1",),
    degraded: bool = False,
    earlier: Sequence[Judged] = (),
) -> Verdict:
    return verdict(
        table(*drifted),
        model="m",
        window_end=START + day * DAY,
        degraded=degraded,
        earlier=earlier,
        policy=POLICY,
    )


def lived_through(days: str, *, policy: VerdictPolicy = POLICY) -> list[Verdict]:
    """Verdicts of days one after the other: ``.`` calm, ``d`` drift, ``s`` a fallen score, ``b`` both."""
    verdicts: list[Verdict] = []
    for day, kind in enumerate(days):
        verdicts.append(
            verdict(
                table("return_1") if kind in "db" else table(),
                model="m",
                window_end=START + day * DAY,
                degraded=kind in "sb",
                earlier=[Judged(v.window_end, bool(v.drifted), v.action == "retrain") for v in verdicts],
                policy=policy,
            )
        )
    return verdicts


def actions(days: str) -> str:
    """First letter of each day's action."""
    return "".join(found.action[0] for found in lived_through(days))


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
    ],
)
def test_days_lead_to_actions(days: str, expected: str) -> None:
    assert actions(days) == expected


def test_verdict_names_what_drifted_with_the_largest_excess_first() -> None:
    found = judge(0, drifted=("return_1", "volume_ratio_60"))
    assert found.drifted == ("volume_ratio_60", "return_1")
    assert "2 of 3 features drifted, most of all volume_ratio_60" in found.reason


def test_fallen_score_is_evidence_without_any_drift() -> None:
    found = judge(0, drifted=(), degraded=True)
    assert (found.action, found.degraded, found.drifted) == ("retrain", True, ())
    assert found.reason == "the live score fell below what was promised"


def test_drift_that_lasts_is_one_cause_for_a_person_and_one_for_the_retrain() -> None:
    causes = [found.cause for found in lived_through("d" * 20)]
    assert list(dict.fromkeys(causes)) == ["watch:m:2019-09-01T00:00", "retrain:m:2019-09-03T00:00"]


def test_each_retrain_has_a_cause_of_its_own() -> None:
    causes = [found.cause for found in lived_through("b" * 15) if found.action == "retrain"]
    assert len(causes) == len(set(causes)) == 3


def test_window_that_is_judged_again_has_the_same_verdict() -> None:
    first = judge(5, degraded=True)
    again = judge(5, degraded=True, earlier=[Judged(first.window_end, drifted=True, retrain=True)])
    assert again == first


def test_verdict_of_one_window_is_enough_when_the_policy_says_so() -> None:
    found = lived_through("d", policy=VerdictPolicy(persistence=1, cool_down=DAY))
    assert [verdict.action for verdict in found] == ["retrain"]
