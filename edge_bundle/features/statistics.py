"""Statistical features: the shape and the memory of recent one-bar returns."""

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import bars_before, flag, log_return, mean, root, step


def features() -> list[Feature]:
    """Members of the family."""
    return [*_moments(), *_memories()]


def _moments() -> list[Feature]:
    return [
        *(
            Feature(
                f"mean_return_{n}",
                log_return(n) * step(f"per_deviation_{n}") * n**-0.5,
                n,
                "standard errors",
                f"Mean one-bar return of {n} bars, in its standard errors by their volatility.",
                1.0,
            )
            for n in (15, 60, 240)
        ),
        *(
            Feature(
                f"return_spread_{n}",
                root(step(f"spread_{n}")),
                n,
                "log return",
                f"Standard deviation of the one-bar return about its mean, {n} bars.",
                1e-3,
            )
            for n in (15, 60)
        ),
        *(
            Feature(
                f"skew_{n}",
                step("cube").rolling_mean(n) * step(f"per_deviation_{n}") * step(f"per_variance_{n}"),
                n,
                "deviations³",
                f"Third moment of the one-bar return about zero, {n} bars.",
                1.0,
            )
            for n in (60, 240)
        ),
        *(
            Feature(
                f"kurtosis_{n}",
                step("fourth").rolling_mean(n) * step(f"per_variance_{n}") * step(f"per_variance_{n}"),
                n,
                "deviations⁴",
                f"Fourth moment of the one-bar return about zero, {n} bars; 3 for a normal one.",
                1.0,
            )
            for n in (60, 240)
        ),
        *(
            Feature(
                f"rise_share_{n}",
                mean(flag(step("change") > 0), n),
                n,
                "0 to 1",
                f"Share of the last {n} bars that closed higher.",
                1.0,
            )
            for n in (20, 60)
        ),
    ]


def _memories() -> list[Feature]:
    one_bar = step("return")
    return [
        *(
            Feature(
                f"autocorrelation_{n}",
                step(f"autocovariance_{n}") * step(f"per_variance_{n}"),
                n + 1,
                "-1 to 1",
                f"Mean product of neighbouring one-bar returns over their mean square, {n} bars.",
                1.0,
            )
            for n in (60, 240)
        ),
        *(
            Feature(
                f"autocorrelation_lag_{lag}_240",
                mean(one_bar * bars_before(one_bar, lag), 240) * step("per_variance_240"),
                240 + lag,
                "-1 to 1",
                f"Mean product of one-bar returns {lag} bars apart over their mean square, 240 bars.",
                1.0,
            )
            for lag in (2, 5)
        ),
        *(
            Feature(
                f"variance_ratio_{n}_240",
                mean(log_return(n) ** 2, 240) * step("per_variance_240") / n,
                239 + n,
                "ratio",
                f"Mean square of {n}-bar returns over {n} times that of one-bar returns, 240 bars: 1 for a "
                "random walk (Lo and MacKinlay 1988).",
                1.0,
            )
            for n in (2, 5, 10)
        ),
    ]
