"""The gate: who passes which door, and each condition that closes it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgba
from scipy.signal import lfilter
from scipy.stats import norm

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.figures import ACCENT, WARNING, decision_figure, png_bytes
from cryptoai_assets.lib.gate import (
    Bound,
    CanaryResult,
    Comparison,
    Evidence,
    GatePolicy,
    Margin,
    decide,
    leak_alarms,
)
from cryptoai_assets.lib.scoring import BootstrapSettings, Score, calibration_score, share_score

ROWS = 4000
START = datetime(2019, 8, 1, tzinfo=UTC)
POLICY = GatePolicy(
    non_inferiority_margin=Margin(0.005, relative=True),
    coverage_tolerance=0.03,
    calibration_limit=0.03,
    bootstrap=BootstrapSettings(block_bars=48, resamples=500, seed=1, confidence=0.95),
)
NOISE = np.random.default_rng(3).normal(0.68, 0.05, ROWS)


def losses(worse_by: float, *, spread: float = 0.01, seed: int = 5) -> Float64Array:
    """Losses whose mean is `worse_by` above the challenger's."""
    shift: Float64Array = np.random.default_rng(seed).normal(0, spread, ROWS)
    return NOISE + worse_by + shift - shift.mean()


def beside(worse_by: float, *, spread: float = 0.01) -> Comparison:
    return Comparison(losses(worse_by, spread=spread), NOISE)


def score(name: str, lower: float, upper: float) -> Score:
    return Score(name, (lower + upper) / 2, lower, upper, ROWS)


EVIDENCE = Evidence(
    times=pl.Series([START + i * timedelta(minutes=30) for i in range(ROWS)]),
    champion=beside(0.01),
    baselines={"majority": beside(0.02), "logistic": beside(0.01)},
    scores=(score("h1/accuracy", 0.53, 0.56), score("h1/rank_ic", 0.08, 0.12)),
    bounds=(Bound("h1/coverage_error", 0.01, 0.0, 0.03),),
    canaries=(CanaryResult("later_bars_do_not_matter", True, "equal"),),
    same_kind=False,
    refresh_cause=None,
    acknowledged_by=None,
)
REFRESH = replace(EVIDENCE, same_kind=True, refresh_cause="drift of 2019-09-30")


def test_better_challenger_of_a_new_kind_passes_the_superior_door() -> None:
    decision = decide(EVIDENCE, POLICY)
    assert (decision.promote, decision.door, decision.first_version) == (True, "superior", False)
    assert {test.against for test in decision.tests} == {"majority", "logistic", "champion"}
    assert all(test.margin == 0 for test in decision.tests)


def test_first_version_is_held_against_the_baselines_only_and_the_decision_says_so() -> None:
    decision = decide(replace(EVIDENCE, champion=None), POLICY)
    assert (decision.promote, decision.door, decision.first_version) == (True, "superior", True)
    assert decision.reasons[0].startswith("first version")
    assert "no champion" in decision.reasons[0]


def test_challenger_as_good_as_the_champion_is_refused_when_it_is_of_a_new_kind() -> None:
    decision = decide(replace(EVIDENCE, champion=beside(0.0)), POLICY)
    assert not decision.promote
    (reason,) = decision.reasons
    assert reason.startswith("not shown to be better than champion")
    assert "was detectable" in reason


def test_challenger_as_good_as_the_champion_passes_as_a_refresh_with_a_cause() -> None:
    decision = decide(replace(REFRESH, champion=beside(0.0)), POLICY)
    assert (decision.promote, decision.door) == (True, "non_inferior_refresh")
    assert "drift of 2019-09-30" in decision.reasons[0]
    margins = {test.against: test.margin for test in decision.tests}
    assert margins["majority"] == margins["logistic"] == 0
    assert margins["champion"] == pytest.approx(-0.005 * losses(0).mean())


@pytest.mark.parametrize("change", [{"refresh_cause": None}, {"refresh_cause": ""}, {"same_kind": False}])
def test_refresh_without_a_cause_or_of_another_kind_must_be_superior(change: dict[str, object]) -> None:
    decision = decide(replace(REFRESH, champion=beside(0.0), **change), POLICY)
    assert (decision.promote, decision.door) == (False, "superior")


def test_refresh_that_loses_more_than_the_margin_is_refused() -> None:
    decision = decide(replace(REFRESH, champion=beside(-0.006)), POLICY)
    assert not decision.promote
    assert decision.reasons[0].startswith("not shown to be no worse than champion")


def test_refresh_that_a_short_stretch_cannot_tell_apart_is_refused() -> None:
    noisy = decide(replace(REFRESH, champion=beside(0.0, spread=0.5)), POLICY)
    assert not noisy.promote
    champion = next(test for test in noisy.tests if test.against == "champion")
    assert champion.interval.least_detectable > -champion.margin


def test_margin_in_points_of_accuracy_is_taken_as_it_is() -> None:
    policy = replace(POLICY, non_inferiority_margin=Margin(0.003, relative=False))
    tests = {test.against: test for test in decide(REFRESH, policy).tests}
    assert tests["champion"].margin == -0.003


def test_challenger_that_is_only_as_good_as_one_baseline_is_refused_at_the_superior_door() -> None:
    equal = replace(EVIDENCE, baselines={**EVIDENCE.baselines, "logistic": beside(0.0)})
    decision = decide(equal, POLICY)
    assert not decision.promote
    assert "better than logistic" in decision.reasons[0]


@pytest.mark.parametrize(
    ("champion", "logistic", "promoted"),
    [
        pytest.param(-0.002, 0.0, False, id="champion-is-better"),
        pytest.param(0.0, 0.0, True, id="champion-is-no-better-either"),
        pytest.param(0.01, 0.0, True, id="champion-is-worse"),
        pytest.param(-0.002, -0.002, False, id="challenger-is-worse"),
        pytest.param(0.01, -0.002, False, id="both-are-worse"),
    ],
)
def test_refresh_must_show_of_a_baseline_what_the_champion_shows(
    champion: float, logistic: float, promoted: bool
) -> None:
    """By how much the loss of each is above the challenger's; a champion may be better by .0034."""
    held = losses(champion)
    baselines = {
        name: Comparison(losses(worse_by), NOISE, held)
        for name, worse_by in (("majority", 0.02), ("logistic", logistic))
    }
    decision = decide(replace(REFRESH, champion=beside(champion), baselines=baselines), POLICY)
    assert decision.promote == promoted
    told = "neither it nor the champion is shown to be better than logistic" if promoted else "than logistic"
    assert told in decision.reasons[0]
    assert ("better than majority" in decision.reasons[0]) == promoted


@pytest.mark.parametrize(("champion_shown", "promoted"), [(0.02, False), (0.0, True)])
def test_champion_is_held_beside_a_baseline_in_the_baselines_own_loss(
    champion_shown: float, promoted: bool
) -> None:
    """QLIKE is far below a log loss: the champion's log loss says nothing beside it."""
    har = Comparison(losses(0.0) - 0.5, NOISE - 0.5, NOISE - 0.5 - champion_shown)
    baselines = {"majority": beside(0.02), "har": har}
    decision = decide(replace(REFRESH, champion=beside(0.0), baselines=baselines), POLICY)
    assert decision.promote == promoted
    assert "better than har" in decision.reasons[0]


def test_champion_that_cannot_answer_leaves_the_superior_door_and_the_decision_says_so() -> None:
    unable = replace(REFRESH, champion=None, champion_unable="it forecasts 1, 2 bars ahead")
    decision = decide(unable, POLICY)
    assert (decision.promote, decision.door, decision.first_version) == (True, "superior", False)
    assert "the champion cannot be compared with: it forecasts 1, 2 bars ahead" in decision.reasons[0]
    equal = decide(replace(unable, baselines={"majority": beside(0.0)}), POLICY)
    assert not equal.promote


def test_bound_canary_and_alarm_each_give_a_reason_of_their_own() -> None:
    decision = decide(
        replace(
            EVIDENCE,
            bounds=(
                Bound("h1/coverage_error", 0.07, 0.05, 0.03),
                Bound("h2/coverage_error", float("nan"), float("nan"), 0.03),
            ),
            canaries=(CanaryResult("random_walks_stay_unknown", False, "9 standard errors off"),),
            scores=(score("h1/accuracy", 0.59, 0.61),),
        ),
        POLICY,
    )
    assert not decision.promote
    found = " | ".join(decision.reasons)
    for named in (
        "h1/coverage_error is 0.0700, and at least 0.0500 is shown",
        "h2/coverage_error is nan",
        "9 standard errors",
        "leak alarm",
    ):
        assert named in found
    assert len(decision.reasons) == 4


def kept_bounds(*, horizon: int, off: float, worlds: int) -> dict[str, int]:
    """How many forecasts of a walk keep each bound: off by so much, in probability and in coverage."""
    times = pl.Series([START + row * timedelta(minutes=1) for row in range(2000)])
    kept = {"calibration_error": 0, "coverage_error": 0}
    for seed in range(worlds):
        draws = np.random.default_rng(seed)
        running = np.concatenate([[0.0], draws.normal(size=2000 + horizon).cumsum()])
        moves = (running[horizon:] - running[:-horizon])[:2000]
        bootstrap = BootstrapSettings(block_bars=480, resamples=500, seed=seed, confidence=0.95)
        said = 0.5 + off + 0.003 * lfilter([0.2], [1, -0.98], draws.normal(size=2000))
        error = calibration_score(said, (moves > 0).astype(np.float64), times, bootstrap)
        within = np.abs(moves) < norm.ppf(0.9 - off / 2) * horizon**0.5
        share = share_score("coverage", within.astype(np.float64), times, bootstrap)
        bounds = (
            Bound(error.name, error.value, error.lower, 0.05),
            Bound.around(0.8, share, name="coverage_error", limit=0.05),
        )
        refused = " | ".join(decide(replace(EVIDENCE, bounds=bounds), POLICY).reasons)
        for name in kept:
            kept[name] += name not in refused
    return kept


@pytest.mark.parametrize("horizon", [1, 6, 30])
def test_forecast_that_tells_the_truth_is_within_its_bounds_however_far_its_outcomes_overlap(
    horizon: int,
) -> None:
    assert min(kept_bounds(horizon=horizon, off=0.0, worlds=60).values()) >= 0.93 * 60


def test_forecast_that_is_off_by_a_tenth_is_out_of_bounds() -> None:
    assert max(kept_bounds(horizon=1, off=0.1, worlds=60).values()) <= 0.05 * 60


@pytest.mark.parametrize(("lower", "upper", "least"), [(0.7, 0.74, 0.06), (0.88, 0.9, 0.08), (0.7, 0.9, 0.0)])
def test_share_is_held_to_its_promise_at_the_nearer_end_of_its_interval(
    lower: float, upper: float, least: float
) -> None:
    bound = Bound.around(0.8, score("coverage", lower, upper), name="coverage_error", limit=0.05)
    assert bound.lower == pytest.approx(least)
    assert bound.kept == (least <= 0.05)


def test_alarm_that_a_person_answers_for_blocks_no_longer_and_stays_in_the_decision() -> None:
    alarmed = replace(EVIDENCE, scores=(score("h1/accuracy", 0.59, 0.61),))
    assert not decide(alarmed, POLICY).promote
    decision = decide(replace(alarmed, acknowledged_by="Ada"), POLICY)
    assert decision.promote
    assert len(decision.alarms) == 1
    assert "Ada answers" in decision.reasons[0]


@pytest.mark.parametrize(
    ("found", "alarmed"),
    [
        (score("h1/accuracy", 0.579, 0.70), False),
        (score("h1/accuracy", 0.58, 0.60), True),
        (score("accuracy", 0.60, 0.62), True),
        (score("h1/accuracy_top_tenth", 0.64, 0.70), False),
        (score("h1/rank_ic", 0.25, 0.30), True),
        (score("h1/rank_ic", -0.40, -0.26), True),
        (score("h1/rank_ic", -0.40, 0.40), False),
        (score("h1/r2", 0.05, 0.06), True),
        (score("h1/r2", -0.30, -0.06), False),
        (score("h1/volatility_rank_ic", 0.89, 0.95), False),
        (score("h1/volatility_rank_ic", 0.90, 0.95), True),
        (score("sharpe", 5.0, 9.0), True),
        (score("h1/log_loss", 0.68, 0.69), False),
    ],
    ids=lambda value: f"{value.name}[{value.lower},{value.upper}]" if isinstance(value, Score) else "",
)
def test_leak_alarm_looks_at_the_nearer_end_of_the_interval(found: Score, alarmed: bool) -> None:
    assert bool(leak_alarms([found])) == alarmed


def test_challenger_cannot_win_by_leaving_rows_out() -> None:
    ours = NOISE.copy()
    ours[:100] = np.nan
    baselines = {"majority": Comparison(losses(0.02), ours)}
    decision = decide(replace(EVIDENCE, champion=None, baselines=baselines), POLICY)
    assert not decision.promote
    assert decision.reasons == ("the challenger leaves out 100 rows that majority answers",)


def test_rows_without_a_known_outcome_count_for_nobody() -> None:
    def unknown(comparison: Comparison) -> Comparison:
        gaps = np.arange(ROWS) % 7 == 0
        both = [np.where(gaps, np.nan, loss) for loss in (comparison.other, comparison.challenger)]
        return Comparison(*both)

    baselines = {name: unknown(comparison) for name, comparison in EVIDENCE.baselines.items()}
    decision = decide(replace(EVIDENCE, baselines=baselines), POLICY)
    assert decision.promote
    assert decision.tests[0].interval.rows < ROWS


@pytest.mark.parametrize(
    ("change", "named"), [({"baselines": {}}, "no baseline"), ({"canaries": ()}, "no canary")]
)
def test_nothing_passes_that_was_not_compared_and_checked(change: dict[str, object], named: str) -> None:
    decision = decide(replace(EVIDENCE, **change), POLICY)
    assert not decision.promote
    assert named in decision.reasons[0]


def test_champion_that_was_trained_later_is_compared_on_the_rows_after_it() -> None:
    trained = START + timedelta(days=40)
    late = (EVIDENCE.times >= trained).to_numpy()
    champion = Comparison(np.where(late, losses(0.01), np.nan), NOISE)
    assert decide(replace(EVIDENCE, champion=champion), POLICY).promote


def test_champion_without_a_row_after_both_trainings_refuses_instead_of_passing() -> None:
    unknown = Comparison(np.full(ROWS, np.nan), NOISE)
    decision = decide(replace(REFRESH, champion=unknown), POLICY)
    assert not decision.promote


def test_decision_is_ready_for_json_and_keeps_its_numbers() -> None:
    record = json.loads(json.dumps(decide(REFRESH, POLICY).to_dict()))
    assert record["door"] == "non_inferior_refresh"
    champion = next(test for test in record["tests"] if test["against"] == "champion")
    assert {"mean", "lower", "upper", "least_detectable", "rows"} == set(champion["interval"])


def test_decision_is_drawn_with_what_failed_in_another_colour() -> None:
    bounds = (Bound("h1/coverage_error", 0.07, 0.05, 0.03), Bound("h2/coverage_error", 0.04, 0.01, 0.03))
    worse = replace(REFRESH, champion=beside(-0.02), bounds=bounds)
    for decision in (decide(EVIDENCE, POLICY), decide(worse, POLICY)):
        compared, bounded = decision_figure(decision).axes
        colours = [line.lines[0].get_color() for line in compared.containers]
        names = [label.get_text() for label in compared.get_yticklabels()]
        assert dict(zip(names, colours, strict=True)) == {
            test.against: ACCENT if test.passed else WARNING for test in decision.tests
        }
        assert [bar.get_facecolor() for bar in bounded.patches] == [
            to_rgba(ACCENT if bound.kept else WARNING) for bound in decision.bounds[::-1]
        ]
        shown, measured = bounded.patches, bounded.lines[0].get_xdata()
        for bound, bar, dot in zip(decision.bounds[::-1], shown, measured, strict=True):
            assert (bar.get_width(), dot) == (bound.lower / bound.limit, bound.value / bound.limit)
    assert {WARNING, ACCENT} == set(colours)


def test_decision_without_a_row_to_compare_on_is_drawn() -> None:
    unknown = Comparison(np.full(ROWS, np.nan), NOISE)
    for evidence in (replace(REFRESH, champion=unknown), replace(EVIDENCE, baselines={}, champion=None)):
        assert png_bytes(decision_figure(decide(evidence, POLICY))).startswith(b"\x89PNG")
