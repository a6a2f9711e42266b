"""The released chart network in service, and what it says of candles and of pictures."""

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cryptoai_serving.bars import BarStore
from cryptoai_serving.errors import NoModelError, RequestRefusedError, reason_of
from cryptoai_serving.forecast_cache import ForecastCache
from cryptoai_serving.last_failure import LastFailure
from edge_bundle.chart import INK, MEAN_INK, ChartFormat, Float64Array, UInt8Array, chart_images
from edge_bundle.detection import NO_BAR, Detection, Pattern
from edge_bundle.detector import Detector
from edge_bundle.errors import BundleRefusedError, ChartRefusedError, EdgeBundleError
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder

CHART_MODEL = "cryptoai-chart-patterns"
PICTURE_FORMATS = ("PNG", "JPEG")
# Bytes of a picture; one of the rasterizer's has a tenth of them.
MOST_PICTURE_BYTES = 200_000
# What a JPEG makes of the three greys lies nearer to its own than to another.
_GREYS = np.array([0, MEAN_INK, INK])


@dataclass(frozen=True, slots=True)
class ServedDetector:
    """A released version that was verified and loaded."""

    released: ReleasedVersion
    detector: Detector


@dataclass(frozen=True, slots=True)
class PictureReading:
    """What the network says of one picture.

    Parameters
    ----------
    probabilities
        (patterns,) in the order of `Pattern`.
    bars
        Of the key points, counted from the first.
    occlusion
        (bars,) how much less sure it is of the pattern when a bar and its neighbours are covered.
    """

    pattern: Pattern
    probabilities: tuple[float, ...]
    bars: tuple[int, ...]
    occlusion: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FoundChart:
    """What the network says of the newest window of a symbol.

    Parameters
    ----------
    detection
        None when ``reason`` says why there is none.
    """

    detection: Detection | None
    reason: str


class ChartDesk:
    """Holds the champion of the chart networks; `refresh` is called from one thread, again and again.

    Parameters
    ----------
    kept_for
        Longest time that what was found in a symbol's newest window is told again.
    """

    def __init__(
        self, *, releases: Path, bars: BarStore, clock: Callable[[], datetime], kept_for: timedelta
    ) -> None:
        self._releases = releases
        self._bars = bars
        self._found = ForecastCache[FoundChart](clock=clock, lifetime=kept_for)
        self._current: ServedDetector | None = None
        self._refused = ""
        self._failure = LastFailure(clock)

    @property
    def refused(self) -> str:
        """Why the newest release stays out; empty when it does not."""
        return self._refused

    def refresh(self) -> None:
        """Look at the channel; load, verify and swap when it names another version."""
        wanted: ReleasedVersion | None = None
        try:
            channel = read_channel(self._releases, CHART_MODEL)
            wanted = channel.champion if channel else None
            if wanted is None:
                self._current, self._refused = None, ""
            elif self._current is not None and self._current.released == wanted:
                self._refused = ""
            elif not self._failure.is_recent(wanted):
                self._current, self._refused = self._verified(wanted), ""
        except Exception as error:  # noqa: BLE001 — whatever a bundle breaks with, it stays out
            self._refused = reason_of(error, releases=self._releases)
            self._failure.keep(wanted)

    def served(self) -> ServedDetector:
        """Network that answers.

        Raises
        ------
        NoModelError
            When none is released, or the released one was refused.
        """
        if self._current is None:
            why = self._refused or f"no champion of {CHART_MODEL} is released"
            raise NoModelError(why, cure="materialize released_chart_vit, then ask again")
        return self._current

    def from_candles(self, candles: pl.DataFrame, *, interval: str) -> tuple[Detection, ...]:
        """Patterns in the newest window of each symbol.

        Raises
        ------
        NoModelError
            When no network is released.
        EdgeBundleError
            When the candles break their contract, or are too few.
        """
        return self.served().detector.detect(candles, interval=interval)

    async def newest(self, symbol: str, *, interval: str) -> FoundChart:
        """Pattern in the newest window of a symbol in the online store, looked for once a bar and network.

        Raises
        ------
        StoreUnavailableError
            When the bars cannot be read.
        """
        try:
            served = self.served()
        except NoModelError as error:
            return FoundChart(None, error.problem)
        return await self._found.answer(
            symbol,
            (served, self._bars.revision()),
            partial(asyncio.to_thread, self._newest, served.detector, symbol, interval),
        )

    def _newest(self, detector: Detector, symbol: str, interval: str) -> FoundChart:
        candles = self._bars.latest((symbol,), detector.chart.bars)
        try:
            [detection] = detector.detect(candles, interval=interval)
        except EdgeBundleError as error:
            return FoundChart(None, str(error))
        return FoundChart(detection, "")

    def from_picture(self, content: bytes) -> PictureReading:
        """Pattern in a PNG or JPEG of the rasterizer's own format.

        Raises
        ------
        NoModelError
            When no network is released.
        RequestRefusedError
            When it is any other picture, or none.
        """
        detector = self.served().detector
        image = picture_pixels(content, detector.chart)
        try:
            reading = detector.read(image[None])
        except ChartRefusedError as error:
            raise _refused(str(error)) from error
        pattern = Pattern(int(reading.pattern[0]))
        return PictureReading(
            pattern,
            tuple(map(float, reading.probabilities[0])),
            tuple(int(bar) for bar in reading.key_points[0] if bar != NO_BAR),
            tuple(map(float, detector.occlusion(image, pattern))),
        )

    def _verified(self, wanted: ReleasedVersion) -> ServedDetector:
        detector = Detector.load(release_folder(self._releases, CHART_MODEL, wanted.version))
        if detector.digest != wanted.sha256 or detector.manifest.model != CHART_MODEL:
            raise BundleRefusedError(f"version {wanted.version} is not what the channel promises")
        if not detector.selftest():
            raise BundleRefusedError(f"version {wanted.version} fails its self-test")
        return ServedDetector(wanted, detector)


def decoded_picture(text: str) -> bytes:
    """Bytes of a picture in base64.

    Raises
    ------
    RequestRefusedError
        When it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _refused(f"it is not base64: {error}") from error


def picture_pixels(content: bytes, chart: ChartFormat) -> UInt8Array:
    """(height, width) of a PNG or JPEG, which is opened no further than to its size before that is right.

    Raises
    ------
    RequestRefusedError
        When it is no picture of this size and of the rasterizer's three greys.
    """
    if len(content) > MOST_PICTURE_BYTES:
        raise _refused(f"it has {len(content):,} bytes, {MOST_PICTURE_BYTES:,} at most are read")
    try:
        with Image.open(io.BytesIO(content), formats=PICTURE_FORMATS) as picture:
            if picture.size != (chart.width, chart.height):
                raise _refused(
                    f"it has {picture.width} x {picture.height} pixels, "
                    f"a chart of {chart.bars} bars {chart.width} x {chart.height}"
                )
            pixels = np.asarray(picture.convert("L"), dtype=np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _refused("it is no PNG or JPEG that can be read") from error
    nearest: UInt8Array = _GREYS[np.abs(pixels[:, :, None] - _GREYS).argmin(axis=2)].astype(np.uint8)
    return nearest


def picture_of(candles: Float64Array, chart: ChartFormat) -> bytes:
    """PNG of a window of candles (bars, 5), as the rasterizer draws it."""
    [image] = chart_images(candles[None], chart)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format="PNG")
    return file.getvalue()


def _refused(problem: str) -> RequestRefusedError:
    return RequestRefusedError(
        f"the picture is refused: {problem}",
        where="picture",
        cure="send a picture that edge_bundle.chart.chart_images drew, as PNG, or send its candles",
    )
