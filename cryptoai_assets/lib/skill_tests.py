"""The field's own tests of a forecaster: its direction against chance, its losses against the baselines'."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.scoring import log_loss, qlike
from cryptoai_assets.lib.significance import Significance, diebold_mariano, pesaran_timmermann

CHANCE = "chance"
_KEYS = ("open_time", "symbol", "horizon")
_OUTPUTS = {"direction": "probability_up", "return": "expected_return", "volatility": "expected_volatility"}


def skill_tests(ours: pl.DataFrame, others: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Pesaran–Timmermann of the direction, and Diebold–Mariano against each other forecaster, by horizon.

    The losses are the log loss of the direction, the squared error of the return and QLIKE of the volatility;
    what either does not forecast is not compared. Errors count the overlap of the horizons.

    Parameters
    ----------
    ours, others
        Predictions with their outcomes; rows that both have are compared.

    Returns
    -------
    DataFrame
        ``horizon``, ``test``, ``of``, ``against``, ``statistic`` (above 0 speaks for ours), ``p_value``,
        ``times``.
    """
    rows = []
    for (horizon,), own in ours.group_by("horizon", maintain_order=True):
        bars = int(str(horizon))
        direction = pesaran_timmermann(
            own["probability_up"].to_numpy(), own["up"].to_numpy(), own["open_time"], horizon_bars=bars
        )
        rows.append(_row(bars, "Pesaran–Timmermann", "direction", CHANCE, direction))
        for name, other in others.items():
            both = own.join(other, on=list(_KEYS), how="inner", suffix="_other", maintain_order="left")
            for what, output in _OUTPUTS.items():
                theirs = both[f"{output}_other"].to_numpy()
                if not (np.isfinite(theirs).any() and both[output].is_finite().any()):
                    continue
                losses = (_losses(what, both[output].to_numpy(), both), _losses(what, theirs, both))
                found = diebold_mariano(*losses, both["open_time"], horizon_bars=bars)
                rows.append(_row(bars, "Diebold–Mariano", what, name, found))
    return pl.DataFrame(rows)


def _losses(what: str, said: Float64Array, rows: pl.DataFrame) -> Float64Array:
    if what == "direction":
        up = rows["up"].to_numpy()
        return np.where(np.isfinite(up), log_loss(said, np.nan_to_num(up)), np.nan)
    if what == "return":
        squares: Float64Array = (said - rows["return"].to_numpy()) ** 2
        return squares
    return qlike(said, rows["volatility"].to_numpy())


def _row(horizon: int, test: str, of: str, against: str, found: Significance) -> dict[str, object]:
    return {
        "horizon": horizon,
        "test": test,
        "of": of,
        "against": against,
        "statistic": found.statistic,
        "p_value": found.p_value,
        "times": found.times,
    }
