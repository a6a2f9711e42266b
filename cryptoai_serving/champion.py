"""The champion in service: follows the release channel and swaps verified bundles without a restart."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptoai_serving.errors import reason_of
from cryptoai_serving.last_failure import LastFailure
from edge_bundle.alerts import Alert
from edge_bundle.errors import BundleRefusedError
from edge_bundle.explanation import Explainer
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import ReleasedVersion, read_channel, read_leak_alarm, read_stop, release_folder
from edge_bundle.windows import MarketWindow


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A released version that was verified and loaded; `released` is what the channel promised.

    Parameters
    ----------
    stopped
        Why it has to abstain; None while it may answer.
    """

    role: str
    released: ReleasedVersion
    forecaster: Forecaster
    loaded_at: datetime
    stopped: str | None = None

    def forecasts(self, window: MarketWindow, now: datetime | None) -> tuple[Forecast, ...]:
        """Forecasts of the forecaster; abstentions while it is stopped."""
        found = self.forecaster.forecast(window, now)
        return found if self.stopped is None else tuple(one.stopped(self.stopped) for one in found)


@dataclass(frozen=True, slots=True)
class RefusedRelease:
    """A release that stays out, and why; `version` is None when the channel itself cannot be read."""

    version: int | None
    reason: str
    refused_at: datetime

    def same_as(self, other: "RefusedRelease") -> bool:
        """Whether it is the same refusal at another time."""
        return (self.version, self.reason) == (other.version, other.reason)


class ChampionWatch:
    """Holds the champion of one model.

    `refresh` is called again and again from one thread that serves no request; readers take `current` once
    and finish on what they took.
    """

    def __init__(self, *, root: Path, model: str, clock: Callable[[], datetime]) -> None:
        self._root = root
        self._model = model
        self._clock = clock
        self._current: ServedModel | None = None
        self._refused: RefusedRelease | None = None
        self._failure = LastFailure(clock)
        self._leak_alarm: str | None = None

    @property
    def current(self) -> ServedModel | None:
        """What answers; None before the first verified bundle, or when the champion was withdrawn."""
        return self._current

    @property
    def refused(self) -> RefusedRelease | None:
        """The release that stays out, if the newest one does."""
        return self._refused

    @property
    def leak_alarm(self) -> str | None:
        """Why the scores of the version that answers are taken for a leak, while nobody answers for them."""
        return self._leak_alarm

    @property
    def reason(self) -> str:
        """Why nothing is served, or an empty text."""
        if self._current:
            return ""
        if self._refused:
            return f"the release was refused: {self._refused.reason}"
        return f"no champion of {self._model} is released"

    def refresh(self) -> None:
        """Look at the channel; load, verify and swap when it names another version."""
        wanted: ReleasedVersion | None = None
        try:
            channel = read_channel(self._root, self._model)
            wanted = channel.champion if channel else None
            if wanted is None:
                self._current = self._refused = None
            elif self._current and self._current.released == wanted:
                self._refused = None
            elif not self._failure.is_recent(wanted):
                self._current = verified_model(
                    self._root, self._model, wanted, role="champion", now=self._clock()
                )
                self._refused = None
        except Exception as error:  # noqa: BLE001 — whatever a bundle breaks with, it stays out
            version = wanted.version if wanted else None
            self._refused = RefusedRelease(version, reason_of(error, releases=self._root), self._clock())
            self._failure.keep(wanted)
        current = self._current
        self._leak_alarm = (
            read_leak_alarm(self._root, self._model, current.released.version) if current else None
        )
        stopped = read_stop(self._root, self._model, current.released.version) if current else None
        if current and stopped != current.stopped:
            self._current = replace(current, stopped=stopped)


def verified_model(
    root: Path, model: str, wanted: ReleasedVersion, *, role: str, now: datetime
) -> ServedModel:
    """Load a released version whose files and golden rows are what was promised.

    Raises
    ------
    EdgeBundleError
        When they are not.
    """
    forecaster = Forecaster.load(release_folder(root, model, wanted.version))
    if forecaster.digest != wanted.sha256:
        raise BundleRefusedError(
            f"version {wanted.version} has the digest {forecaster.digest[:12]}…, "
            f"the channel promises {wanted.sha256[:12]}…"
        )
    if forecaster.manifest.model != model:
        raise BundleRefusedError(
            f"version {wanted.version} is of the model {forecaster.manifest.model}, {model} needed"
        )
    result = forecaster.selftest()
    if not result.passed:
        raise BundleRefusedError(
            f"version {wanted.version} fails its self-test: outputs differ by "
            f"{result.largest_difference:.2g} deviations, {result.tolerance:.2g} allowed; "
            f"features by {result.largest_feature_difference:.2g} of their scale"
        )
    Explainer.of(forecaster)  # what explanations are made of can be read
    return ServedModel(role, wanted, forecaster, now)


def refusal_alert(refused: RefusedRelease, *, model: str, served: int | None) -> Alert:
    """What a person is told of a release that stays out; `served` is the version that answers meanwhile."""
    what = "The release channel" if refused.version is None else f"Version {refused.version}"
    digest = hashlib.sha256(refused.reason.encode()).hexdigest()[:12]
    return Alert(
        cause=f"refused-release/{model}/{refused.version}/{digest}",
        severity="critical",
        title=f"{what} of {model} stays out of service",
        summary=f"{refused.reason}. Promote or roll back again to serve another version.",
        facts=(("answers meanwhile", "nothing" if served is None else f"version {served}"),),
        links=(),
        raised_at=refused.refused_at,
    )
