"""Splits: nothing that is trained on reaches into what is scored."""

from datetime import UTC, datetime, timedelta

import pytest
from fakes.walk_rows import walk_rows
from hypothesis import assume, given
from hypothesis import strategies as st

from cryptoai_assets.lib.splits import SplitError, final_stretch, walk_forward

BAR = timedelta(minutes=30)
START = datetime(2020, 1, 1, tzinfo=UTC)


def times_of(bars: int) -> list[datetime]:
    return [START + k * BAR for k in range(bars)]


@given(
    present=st.sets(st.integers(0, 600), min_size=60),
    folds=st.integers(1, 6),
    share=st.floats(0.2, 0.7),
    horizon=st.integers(1, 12),
    embargo=st.integers(0, 12),
)
def test_no_training_label_reaches_a_test_row_whatever_the_holes(
    present: set[int], folds: int, share: float, horizon: int, embargo: int
) -> None:
    times = [START + k * BAR for k in sorted(present)]
    try:
        found = walk_forward(
            times, bar=BAR, folds=folds, test_share=share, horizon_bars=horizon, embargo_bars=embargo
        )
    except SplitError:
        assume(False)
    for fold in found:
        trained = [time for time in times if time < fold.train_end]
        assert trained
        assert max(trained) + (horizon + embargo) * BAR < fold.test_start
    tested = [time for fold in found for time in times if fold.test_start <= time < fold.test_end]
    assert tested == times[int(len(times) * (1 - share)) :]


def test_folds_expand_and_have_equal_parts() -> None:
    found = walk_forward(times_of(1000), bar=BAR, folds=5, test_share=0.5, horizon_bars=6, embargo_bars=4)
    assert [fold.test_start for fold in found] == [START + k * BAR for k in (500, 600, 700, 800, 900)]
    assert [fold.train_end for fold in found] == [fold.test_start - 10 * BAR for fold in found]
    assert found[-1].test_end == START + 1000 * BAR


def test_all_symbols_are_split_at_the_same_times() -> None:
    data = walk_rows(bars=800, seed=1, symbols=("BTCUSD", "ETHUSD"))
    [fold] = walk_forward(data.times, bar=BAR, folds=1, test_share=0.3, horizon_bars=6, embargo_bars=6)
    train, test = data.between(None, fold.train_end), data.between(fold.test_start, fold.test_end)
    for part in (train, test):
        btc, eth = (part.of_symbols([symbol]).times for symbol in ("BTCUSD", "ETHUSD"))
        assert btc == eth
    assert max(train.times) + 12 * BAR < min(test.times)


@pytest.mark.parametrize(("bars", "folds"), [(0, 1), (5, 2), (20, 1), (30, 40)])
def test_series_too_short_to_walk_is_named(bars: int, folds: int) -> None:
    with pytest.raises(SplitError, match=f"{bars} bars are too few for {folds} folds"):
        walk_forward(times_of(bars), bar=BAR, folds=folds, test_share=0.5, horizon_bars=6, embargo_bars=6)


def test_final_stretch_is_the_end_and_no_label_reaches_it() -> None:
    times = times_of(1000)
    stretch = final_stretch(times, bar=BAR, share=0.1, minimum_bars=50, horizon_bars=6)
    assert stretch.test_start == times[900]
    assert stretch.test_end == times[-1] + BAR
    last_trained = max(time for time in times if time < stretch.train_end)
    assert last_trained + 6 * BAR < stretch.test_start


def test_final_stretch_has_at_least_its_minimum() -> None:
    stretch = final_stretch(times_of(1000), bar=BAR, share=0.1, minimum_bars=400, horizon_bars=6)
    assert stretch.test_start == START + 600 * BAR


def test_series_too_short_for_a_final_stretch_is_named() -> None:
    with pytest.raises(SplitError, match="300 bars are too few for a final stretch of 200; at least 400"):
        final_stretch(times_of(300), bar=BAR, share=0.1, minimum_bars=200, horizon_bars=6)
