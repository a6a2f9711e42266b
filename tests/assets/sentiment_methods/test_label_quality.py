"""Quality of labels and of the confidence in them."""

import numpy as np
import pytest

from cryptoai_assets.lib.sentiment_methods.label_quality import Quality, quality_of


def test_quality_is_that_of_the_labels_and_of_the_confidence() -> None:
    shares = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]])
    found = quality_of(shares, np.array([0, 0, 2, 1]), np.array([0, 1, 2, 1]))
    assert found.accuracy == 0.75
    assert found.f1 == pytest.approx({"negative": 2 / 3, "neutral": 2 / 3, "positive": 1.0})
    assert found.macro_f1 == pytest.approx(7 / 9)
    assert found.calibration_error == pytest.approx(0.05)
    assert isinstance(found, Quality)
