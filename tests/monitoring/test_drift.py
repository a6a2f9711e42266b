"""Drift statistics: equal to their textbook forms, and a planted change is found and named."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptoai_assets.evaluate.clustered_market import clustered_features
from cryptoai_monitoring.drift import (
    CELLS,
    ReferenceCells,
    drift_table,
    kolmogorov_smirnov,
    stability_index,
)
from cryptoai_monitoring.thresholds import Calibration, Float64Array

CALIBRATION = Calibration(false_alarm_rate=0.01, windows=200, seed=3)
ROWS, WINDOW_ROWS = 20_000, 500


def counted(reference: Float64Array, window: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Both statistics of a window."""
    cells = ReferenceCells.of(reference)
    found = cells.counted(cells.located(window))
    return stability_index(cells.counts, found), kolmogorov_smirnov(cells.counts, found)


@pytest.fixture(scope="module")
def calm() -> tuple[pl.DataFrame, pl.DataFrame]:
    random = np.random.default_rng(11)
    values = pl.DataFrame({f"feature_{i}": random.standard_normal(ROWS + WINDOW_ROWS) for i in range(12)})
    return values.head(ROWS), values.tail(WINDOW_ROWS)


def test_stability_index_equals_its_textbook_form_over_tenths() -> None:
    random = np.random.default_rng(1)
    reference, window = random.normal(0, 1, 10_000), random.normal(0.5, 1.5, 700)
    edges = np.concatenate([[-np.inf], np.quantile(reference, np.arange(1, 10) / 10), [np.inf]])
    expected, found = (np.histogram(values, edges)[0] / len(values) for values in (reference, window))
    psi, _ = counted(reference[:, None], window[:, None])
    assert psi[0] == pytest.approx(((found - expected) * np.log(found / expected)).sum(), rel=1e-9)


@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 5), seed=st.integers(0, 100))
def test_kolmogorov_smirnov_is_within_one_cell_of_scipys(shift: float, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, window = random.normal(0, 1, 4_000), random.normal(shift, scale, 300)
    exact = stats.ks_2samp(reference, window, method="asymp").statistic
    _, ks = counted(reference[:, None], window[:, None])
    assert exact - 1 / CELLS - 1e-9 <= ks[0] <= exact + 1e-9


@given(unit=st.sampled_from([1e-9, 1e-3, 1.0, 1e6]), offset=st.sampled_from([0.0, 5.0]))
def test_statistics_do_not_depend_on_the_unit(unit: float, offset: float) -> None:
    random = np.random.default_rng(1)
    reference, window = random.normal(0, 1, (4_000, 1)), random.normal(0.3, 1, (300, 1))
    plain, scaled = (
        counted(reference, window),
        counted((reference + offset) * unit, (window + offset) * unit),
    )
    assert np.allclose(plain, scaled, atol=0.02)


def test_part_of_the_reference_is_compared_with_the_rest_of_it() -> None:
    values = np.random.default_rng(1).normal(0, 1, (3_000, 2))
    rows = np.arange(500, 1_500)
    cells = ReferenceCells.of(values)
    psi, ks = cells.statistics_of_part(cells.located(values)[rows])
    rest = np.delete(values, rows, axis=0)
    for feature in range(2):
        exact = stats.ks_2samp(rest[:, feature], values[rows, feature], method="asymp").statistic
        assert ks[feature] == pytest.approx(exact, abs=2 / CELLS)
    assert (psi > 0).all()


def test_calm_window_is_not_flagged(calm: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    reference, window = calm
    assert not drift_table(reference, window, reference.columns, CALIBRATION)["drifted"].any()


def shifted(column: str, window: pl.DataFrame) -> pl.DataFrame:
    return window.with_columns(pl.col(column) + 1)


def doubled(column: str, window: pl.DataFrame) -> pl.DataFrame:
    return window.with_columns(pl.col(column) * 2)


def in_other_units(column: str, window: pl.DataFrame) -> pl.DataFrame:
    return window.with_columns(pl.col(column) * 1_000)


def frozen(column: str, window: pl.DataFrame) -> pl.DataFrame:
    return window.with_columns(pl.lit(window[column][0]).alias(column))


@pytest.mark.parametrize("fault", [shifted, doubled, in_other_units, frozen])
@pytest.mark.parametrize("column", ["feature_0", "feature_7"])
def test_planted_fault_is_found_and_named(
    calm: tuple[pl.DataFrame, pl.DataFrame], column: str, fault: type[object]
) -> None:
    reference, window = calm
    table = drift_table(reference, fault(column, window), reference.columns, CALIBRATION)
    assert table.filter("drifted")["feature"].to_list() == [column]
    assert table["feature"][0] == column


def test_shift_of_one_deviation_is_found_amid_clustered_volatility() -> None:
    features = clustered_features(15_500, seed=8)
    reference, window = features.head(15_000), features.tail(500)
    deviation = reference["return"].std()
    assert isinstance(deviation, float)
    table = drift_table(
        reference, window.with_columns(pl.col("return") + deviation), features.columns, CALIBRATION
    )
    assert table.filter("drifted")["feature"].to_list() == ["return"]
    row = table.row(0, named=True)
    assert row["window_mean"] - row["reference_mean"] == pytest.approx(row["reference_deviation"], rel=0.15)


def test_feature_that_never_moved_is_flagged_when_it_does(calm: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    reference, window = (frame.with_columns(still=pl.lit(0.0)) for frame in calm)
    names = reference.columns
    assert not drift_table(reference, window, names, CALIBRATION)["drifted"].any()
    moved = drift_table(reference, window.with_columns(still=pl.lit(1.0)), names, CALIBRATION)
    assert moved.filter("drifted")["feature"].to_list() == ["still"]


def test_rows_that_are_warming_up_are_left_out(calm: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    reference, window = calm
    gap = pl.DataFrame({name: [None] * 50 for name in reference.columns}, schema=reference.schema)
    plain = drift_table(reference, window, reference.columns, CALIBRATION)
    holed = drift_table(pl.concat([gap, reference]), pl.concat([gap, window]), reference.columns, CALIBRATION)
    assert plain.equals(holed)


def test_excess_tells_which_statistic_is_beyond_its_threshold(
    calm: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    reference, window = calm
    table = drift_table(reference, shifted("feature_3", window), reference.columns, CALIBRATION)
    larger = pl.max_horizontal(pl.col("psi") / pl.col("threshold"), pl.col("ks") / pl.col("ks_threshold"))
    assert table.select((larger - pl.col("excess")).abs().max()).item() < 1e-12
    assert table["drifted"].to_list() == (table["excess"] > 1).to_list()
