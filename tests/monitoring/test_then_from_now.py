"""Then from now: what changed is told and named, what clusters is not, and a relation is told by itself."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cryptoai_assets.evaluate.clustered_market import clustered_features
from cryptoai_monitoring.then_from_now import (
    CHANCE,
    LEAST_WINDOWS,
    RELATION,
    SMALLEST_BEYOND,
    STATE,
    ThenFromNow,
    ToldApart,
    area_under_curve,
    told_apart,
)
from cryptoai_monitoring.thresholds import Calibration

CALIBRATION = Calibration(false_alarm_rate=0.01, windows=200, seed=3)
FEATURES = ("level", "size", "early")
WINDOW, WINDOWS = 400, 12


def market(seed: int) -> pl.DataFrame:
    """Two symbols; the feature that comes early says of three directions in five what comes."""
    random = np.random.default_rng(seed)
    rows = WINDOW * (WINDOWS + 1)
    values = random.standard_normal((rows, 3))
    outcome = 0.3 * values[:, 2] + random.standard_normal(rows)
    return pl.DataFrame(
        {
            "open_time": np.arange(rows) // 2,
            **{name: values[:, place] for place, name in enumerate(FEATURES)},
            "outcome": outcome,
        }
    )


@pytest.fixture(scope="module")
def calm() -> tuple[pl.DataFrame, pl.DataFrame]:
    found = market(5)
    return found.head(-WINDOW), found.tail(WINDOW)


@pytest.fixture(scope="module")
def watch(calm: tuple[pl.DataFrame, pl.DataFrame]) -> ThenFromNow:
    return ThenFromNow.of(calm[0], FEATURES, outcome="outcome", window_rows=WINDOW, calibration=CALIBRATION)


def told(found: ToldApart) -> list[str]:
    return found.table.filter("told")["question"].to_list()


def test_calm_window_is_told_from_then_by_nothing(
    calm: tuple[pl.DataFrame, pl.DataFrame], watch: ThenFromNow
) -> None:
    found = watch.answer(calm[1])
    assert told(found) == []
    assert found.named(3) == ()
    assert found.excess < 1
    assert found.table["threshold"].to_numpy().min() >= CHANCE + SMALLEST_BEYOND


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("level", pl.col("level") + 0.8),
        ("size", pl.col("size") * 2),
        ("size", pl.col("size") * 1_000),
        ("level", pl.lit(0.3)),
    ],
    ids=["shifted", "wider", "in other units", "frozen"],
)
def test_changed_feature_is_told_by_the_state_and_named_first(
    calm: tuple[pl.DataFrame, pl.DataFrame], watch: ThenFromNow, column: str, changed: pl.Expr
) -> None:
    found = watch.answer(calm[1].with_columns(changed.alias(column)))
    assert told(found) == [STATE]
    assert found.named(1) == (f"{STATE}: {column}",)
    shares = found.shares.filter(question=STATE)
    assert shares["share"][0] > 0.5
    assert shares["share"].abs().sum() == pytest.approx(1)


def test_reversed_relation_is_told_by_the_relation_alone(
    calm: tuple[pl.DataFrame, pl.DataFrame], watch: ThenFromNow
) -> None:
    found = watch.answer(calm[1].with_columns(-pl.col("outcome")))
    assert told(found) == [RELATION]
    assert found.named(1) == (f"{RELATION}: early",)


def test_shift_of_one_deviation_is_told_amid_clustered_volatility_and_another_volatility_is_not() -> None:
    features = clustered_features(336 * 21, seed=4).with_row_index("open_time")
    market = features.with_columns(pl.col("return").shift(-1).alias("outcome")).drop_nulls()
    reference = market[: 336 * 14]
    watch = ThenFromNow.of(
        reference,
        features.columns[1:],
        outcome="outcome",
        window_rows=336,
        calibration=replace(CALIBRATION, seed=4),
    )
    weeks = [market[336 * week : 336 * (week + 1)] for week in range(14, 20)]
    wildest = weeks[int(np.argmax([week["size"].mean() for week in weeks]))]
    assert told(watch.answer(wildest)) == []
    shifted = wildest.with_columns(pl.col("size") + reference["size"].std())
    assert told(watch.answer(shifted)) == [STATE]


@given(unit=st.sampled_from([1e-9, 1e-3, 1e6]), offset=st.sampled_from([0.0, 5.0]))
def test_answer_does_not_depend_on_the_unit(unit: float, offset: float) -> None:
    few = replace(CALIBRATION, windows=2)
    plain = market(6)
    scaled = plain.with_columns((pl.col(FEATURES) + offset) * unit)
    answers = [
        told_apart(one.head(-WINDOW), one.tail(WINDOW), FEATURES, outcome="outcome", calibration=few)
        for one in (plain, scaled)
    ]
    areas = [answer.table["area"].to_list() for answer in answers if answer is not None]
    assert areas[0] == pytest.approx(areas[1], abs=0.01)


@given(seed=st.integers(0, 1_000), ties=st.booleans())
def test_area_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    old, new = random.normal(0, 1, 120), random.normal(0.4, 1.2, 50)
    if ties:
        old, new = old.round(), new.round()
    labels = np.repeat([0, 1], [len(old), len(new)])
    assert area_under_curve(old, new) == pytest.approx(roc_auc_score(labels, np.concatenate([old, new])))


def test_what_is_too_short_is_not_judged(calm: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    reference, window = calm
    for then, now in (
        (reference, window.head(50)),
        (reference.head((LEAST_WINDOWS - 1) * WINDOW), window),
        (reference, window.with_columns(level=None)),
    ):
        assert told_apart(then, now, FEATURES, outcome="outcome", calibration=CALIBRATION) is None


@pytest.mark.parametrize("changed", [0, 1])
def test_long_window_is_thinned_to_whole_times(calm: tuple[pl.DataFrame, pl.DataFrame], changed: int) -> None:
    # Two symbols a time: every second row would leave out one of them.
    here = (pl.int_range(pl.len()) % 2 == changed).cast(pl.Float64)
    times = 6
    reference, window = (
        pl.concat([frame.with_columns(pl.col("open_time") * times + k) for k in range(times)]).sort(
            "open_time", maintain_order=True
        )
        for frame in (calm[0], calm[1].with_columns(pl.col("level") + here))
    )
    few = replace(CALIBRATION, windows=20)
    found = told_apart(reference, window, FEATURES, outcome="outcome", calibration=few)
    assert found is not None
    assert told(found) == [STATE]
