"""Explanations of a bundle that has no trees: drawn, with their errors, and adding up to what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.every_coalition import Rows, Values, shapley_by_definition
from fakes.tiny_bundle import TINY_FEATURES, write_tiny_bundle

from edge_bundle.errors import BundleRefusedError
from edge_bundle.explanation import LEAST_ORDERS, LEAVES_NAME, Explainer, Explanation
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest, file_sha256


@pytest.fixture(scope="module", params=[1, 3], ids=["one bar", "three bars"])
def explainer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    folder = write_tiny_bundle(
        tmp_path_factory.mktemp("bundle"), lookback=request.param, members=("lstm", "transformer"), seed=1
    )
    return Explainer.of(Forecaster.load(folder))


def explained(explainer: Explainer, *, part: str = "", seed: int = 1) -> Explanation:
    return explainer.explanation(explainer.baseline[7], 2, part=part, seed=seed)


def test_contributions_add_up_to_what_is_said(explainer: Explainer) -> None:
    found = explained(explainer)
    outputs = explainer.forecaster.outputs(explainer.baseline)["probability_up"][:, 1]
    assert found.said == outputs[7]
    assert found.baseline == pytest.approx(outputs.mean(), abs=1e-6)
    assert abs(found.remainder) < 1e-9
    assert abs(found.said - found.baseline) > 0.01
    sizes = [abs(one.contribution) for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True)
    newest = dict(zip(TINY_FEATURES, explainer.baseline[7, -1], strict=True))
    assert {one.feature: one.value for one in found.contributions} == newest


def test_drawn_contributions_are_within_their_errors_of_the_definition(explainer: Explainer) -> None:
    def said(windows: Rows) -> Values:
        return explainer.forecaster.outputs(windows)["probability_up"][:, 1].astype(np.float64)

    exact = shapley_by_definition(said, explainer.baseline[7], explainer.baseline)
    found = explained(explainer)
    for one in found.contributions:
        assert one.standard_error is not None
        away = abs(one.contribution - exact[TINY_FEATURES.index(one.feature)])
        # The error counts the golden rows as drawn, which here all are asked: it is never too small.
        assert away <= 3 * one.standard_error + 1e-9
    assert max(abs(exact)) > 0.01


def test_same_seed_gives_the_same_explanation_and_another_one_another(explainer: Explainer) -> None:
    assert explained(explainer) == explained(explainer)
    assert explained(explainer, seed=2) != explained(explainer)


def test_member_is_explained_by_itself(explainer: Explainer) -> None:
    assert explainer.members == ("lstm", "transformer")
    half, whole = explained(explainer, part="transformer"), explained(explainer)
    assert (half.part, half.unit) == ("transformer", "probability")
    assert half.said == pytest.approx(whole.said / 2)
    assert abs(half.remainder) < 1e-9


def test_what_was_drawn_once_explains_every_horizon_and_member_on_however_many_threads(
    explainer: Explainer,
) -> None:
    window = explainer.baseline[7]
    drawn = replace(explainer, threads=3).drawn(window, seed=1)
    for horizon in explainer.forecaster.manifest.horizons:
        for part in ("", *explainer.members):
            alone = explainer.explanation(window, horizon, part=part, seed=1)
            assert explainer.explanation(window, horizon, part=part, seed=1, drawn=drawn) == alone


def test_window_of_many_bars_is_explained_by_few_orders_whose_starts_stand_for_all(tmp_path: Path) -> None:
    explainer = Explainer.of(Forecaster.load(write_tiny_bundle(tmp_path, lookback=900, seed=1)))
    found = explained(explainer)
    outputs = explainer.forecaster.outputs(explainer.baseline)["probability_up"][:, 1]
    assert found.orders == LEAST_ORDERS
    assert found.baseline == pytest.approx(outputs.mean(), abs=float(outputs.std()) / 4)
    assert abs(found.remainder) < 1e-9


def test_leaves_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, seed=1)
    (folder / LEAVES_NAME).write_bytes(b"no archive")
    manifest = Manifest.read(folder)
    files = {**manifest.files, LEAVES_NAME: file_sha256(folder / LEAVES_NAME)}
    replace(manifest, files=files).write(folder)
    with pytest.raises(BundleRefusedError, match="leaves"):
        Explainer.of(Forecaster.load(folder))
