"""Sums of agreement: what is lost is seen soon, what grows is no fault, and the stated rate is kept."""

import numpy as np
import pytest

from cryptoai_monitoring.relation import FALLS, Looks, RelationWatch
from cryptoai_monitoring.thresholds import DAYS_A_MONTH, AlarmRate, Float64Array

LOOKS = Looks(bars=4, a_day=24, longest=240)
A_DAY = LOOKS.bars * LOOKS.a_day
RATE = AlarmRate(a_month=0.25, block_days=10, draws=60, seed=3)
REFERENCE_DAYS, LIVE_DAYS = 90, 30


def agreement(random: np.random.Generator, days: int, mean: float, columns: int = 1) -> Float64Array:
    return random.normal(mean, 1, (days * A_DAY, columns))


@pytest.fixture(scope="module")
def watch() -> RelationWatch:
    return RelationWatch.of(agreement(np.random.default_rng(1), REFERENCE_DAYS, 0.2), LOOKS, RATE)


def hours_until_seen(watch: RelationWatch, later: float, seed: int) -> float:
    """Hours of a later mean until any fall is alarmed, after days of the usual one."""
    random = np.random.default_rng(seed)
    values = np.concatenate([agreement(random, 12, 0.2), agreement(random, LIVE_DAYS, later)])
    seen = (watch.excess(values)[-LIVE_DAYS * LOOKS.a_day :].max(axis=(1, 2)) > 1).nonzero()[0]
    return float(seen[0] + 1) if len(seen) else np.inf


def test_reversed_and_lost_agreement_is_seen_soon_and_the_worse_the_sooner(watch: RelationWatch) -> None:
    reversed_, lost = (
        np.median([hours_until_seen(watch, mean, seed) for seed in range(20)]) for mean in (-0.2, 0.0)
    )
    assert 5 < reversed_ < 24
    assert reversed_ < lost < 120


def test_agreement_that_grows_is_no_fault(watch: RelationWatch) -> None:
    assert [hours_until_seen(watch, 0.5, seed) for seed in range(20)] == [np.inf] * 20


def test_sums_are_those_of_the_worst_stretch_up_to_each_look(watch: RelationWatch) -> None:
    values = agreement(np.random.default_rng(5), 20, 0.1)
    found = watch.excess(values) * watch.limits
    for fall, halfway in enumerate((watch.mean[0] / 2, 0.0)):
        for look in (0, 7, 240, 241, 479):
            lacks = (halfway - values[: (look + 1) * LOOKS.bars, 0]).reshape(-1, LOOKS.bars).sum(axis=1)
            worst = max(0.0, lacks[-LOOKS.longest :][::-1].cumsum().max())
            assert found[look, fall, 0] == pytest.approx(worst)
    assert list(FALLS) == ["lost", "reversed"]


@pytest.mark.parametrize("columns", [1, 4])
def test_stated_share_of_days_is_alarmed_however_many_columns(columns: int) -> None:
    rate = AlarmRate(a_month=1.0, block_days=10, draws=40, seed=3)
    shares = []
    for seed in range(25):
        random = np.random.default_rng(seed)
        watch = RelationWatch.of(agreement(random, REFERENCE_DAYS, 0.2, columns), LOOKS, rate)
        later = watch.excess(agreement(random, 200, 0.2, columns)).reshape(200, LOOKS.a_day, -1)
        shares.append(float((later.max(axis=(1, 2)) > 1).mean()))
    assert 0.5 < np.mean(shares) * DAYS_A_MONTH < 1.5


def test_forecast_that_comes_true_by_turns_has_wider_limits() -> None:
    random = np.random.default_rng(2)
    plain = agreement(random, REFERENCE_DAYS, 0.2)
    by_turns = plain + np.repeat(random.normal(0, 0.15, REFERENCE_DAYS), A_DAY)[:, None]
    one, other = (RelationWatch.of(values, LOOKS, RATE) for values in (plain, by_turns))
    assert (other.limits > 1.5 * one.limits).all()


def test_reference_of_few_days_has_wider_limits_for_its_mean_is_less_certain() -> None:
    few = agreement(np.random.default_rng(8), 15, 0.2)
    same_for_longer = np.tile(few, (12, 1))
    short, long = (RelationWatch.of(values, LOOKS, RATE) for values in (few, same_for_longer))
    assert np.allclose(short.mean, long.mean)
    assert (short.limits > 1.15 * long.limits).all()


def test_unknown_bars_say_nothing(watch: RelationWatch) -> None:
    known = agreement(np.random.default_rng(6), 5, -0.2)
    gaps = np.concatenate([known, np.full((2 * A_DAY, 1), np.nan)])
    assert watch.excess(known)[-1] == pytest.approx(watch.excess(gaps)[-1])
    holey = np.concatenate([known, np.full((30 * A_DAY, 1), np.nan), known])
    assert np.array_equal(
        RelationWatch.of(holey, LOOKS, RATE).limits,
        RelationWatch.of(np.concatenate([known, known]), LOOKS, RATE).limits,
    )


def test_forecast_that_never_came_true_can_still_fall() -> None:
    random = np.random.default_rng(7)
    watch = RelationWatch.of(agreement(random, REFERENCE_DAYS, -0.05), LOOKS, RATE)
    assert (watch.excess(agreement(random, 10, -0.5))[-1] > 1).all()
