"""Evidently's numbers along time are those that it gives when it is asked window by window."""

import numpy as np
import polars as pl
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS

from cryptoai_assets.evaluate.clustered_market import (
    clustered_market,
    with_feature_fault,
    with_reversed_relation,
)
from cryptoai_assets.evaluate.evidently_paths import METHODS, EvidentlyPaths
from cryptoai_monitoring.reports import evidently_score

pytestmark = [
    *EVIDENTLY_WARNINGS,
    # Of a window of one value.
    pytest.mark.filterwarnings("ignore:Precision loss occurred in moment calculation"),
]
ROW, BARS = 2_500, 96


@pytest.fixture(scope="module")
def markets() -> list[pl.DataFrame]:
    calm = clustered_market(3_000, seed=3)
    frozen = with_feature_fault(calm, "frozen feature", column="agreement", row=ROW)
    shifted = with_feature_fault(calm, "shift of one deviation", column="agreement", row=ROW)
    return [calm, frozen, shifted, with_reversed_relation(calm, ROW)]


@pytest.mark.parametrize("method", METHODS)
def test_path_of_a_method_is_what_evidently_says_of_each_window(
    method: str, markets: list[pl.DataFrame]
) -> None:
    paths, looks = EvidentlyPaths(), np.arange(ROW - 20, ROW + 200, 11)
    for market in markets:
        values = market["agreement"].to_numpy()
        known = values[1:2_000:5]
        asked = [evidently_score(method, known, values[look + 1 - BARS : look + 1])[0] for look in looks]
        assert paths.path(method, known, values, looks, BARS) == pytest.approx(asked, rel=1e-9, abs=1e-12)


def test_same_distance_is_asked_once_and_has_the_same_score(markets: list[pl.DataFrame]) -> None:
    values = markets[0]["return"].to_numpy()
    paths, looks = EvidentlyPaths(), np.arange(500, 2_500)
    first = paths.path("ks", values[:96], values, looks, BARS)
    assert len(paths.chances) < 100
    assert np.array_equal(paths.path("ks", values[:96], values, looks, BARS), first)
