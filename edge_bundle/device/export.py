"""Export: each finished day as CSV and Parquet with its checksums, kept on the device and sent on once."""

import hashlib
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import httpx
import polars as pl

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.harvest import beginning
from edge_bundle.device.s3_signature import S3Key, signed_put
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.errors import EdgeBundleError
from edge_bundle.whole_file import replace_file, replace_folder

PROGRAM = "etl"
DAY = timedelta(days=1)
# A day whose missing bars may still come is waited for so long after they were missed.
LONGEST_WAIT = timedelta(days=1)
SEND_SECONDS = 60.0
CHECKSUMS = "SHA256SUMS"
# What a server answers to a file that it will never take.
UNWANTED = (400, 413, 415, 422)


class NotSentError(EdgeBundleError):
    """A day did not reach where it should go; it is sent again the next time."""


class DayRefusedError(NotSentError):
    """A day was refused for what it is: it is not sent again, and those after it do not wait."""


class Destination(Protocol):
    """Where exported days go."""

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        """Bring the files of a day there, again without harm.

        Parameters
        ----------
        files
            By their names; `CHECKSUMS` last.

        Raises
        ------
        NotSentError
            When they did not all arrive.
        DayRefusedError
            When they are not wanted as they are.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """A folder, such as a mounted share; the checksums come last, so a day that has them is whole."""

    folder: Path

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        """Copy each file beside its place, then put it there."""
        target = self.folder / f"{day}"
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name, path in files.items():
                replace_file(target / name, path.read_bytes())
        except OSError as error:
            raise NotSentError(f"{day} was not copied to {self.folder}: {error}") from error


@dataclass(frozen=True, slots=True)
class PlatformDestination:
    """The platform's service, which keeps a day once however often it comes."""

    url: str
    key: str

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        """Post the day's CSV."""
        body = files[csv_name(day)].read_bytes()
        headers = {"content-type": "text/csv", "x-content-sha256": hashlib.sha256(body).hexdigest()}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        address = f"{self.url.rstrip('/')}/ingest/candles"
        try:
            answer = httpx.post(
                address, params={"day": f"{day}"}, content=body, headers=headers, timeout=SEND_SECONDS
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotSentError(f"the platform did not take {day} ({type(error).__name__})") from error
        if answer.status_code in UNWANTED:
            raise DayRefusedError(f"the platform refused {day}: {answer.text[:200]}")
        if answer.status_code not in (200, 201):
            raise NotSentError(
                f"the platform answered {day} with status {answer.status_code}: {answer.text[:200]}"
            )


@dataclass(frozen=True, slots=True)
class ScpDestination:
    """A folder on another machine, over SSH with a key; nobody is asked for a password."""

    target: str
    program: str = "scp"

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        """Copy the files, each in its own connection, the checksums last."""
        for name, path in files.items():
            command = [self.program, "-B", "-q", f"{path}", f"{self.target}/{day}-{name}"]
            try:
                done = subprocess.run(  # noqa: S603 — the settings name the target, no shell reads it
                    command, capture_output=True, text=True, timeout=SEND_SECONDS, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotSentError(f"{day} was not copied to {self.target}: {error}") from error
            if done.returncode:
                raise NotSentError(f"{day} was not copied to {self.target}: {done.stderr.strip()[:200]}")


@dataclass(frozen=True, slots=True)
class S3Destination:
    """A bucket, Amazon's or of what speaks like it; the checksums come last, so a day that has them is whole.

    Parameters
    ----------
    address
        ``bucket/prefix``.
    endpoint
        Address of the server; empty is Amazon's in the region.
    """

    address: str
    endpoint: str
    region: str
    key: S3Key
    clock: Callable[[], datetime]

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        """Put each file at ``prefix/day/name``; one that is there is replaced by the same."""
        server = self.endpoint.rstrip("/") or f"https://s3.{self.region}.amazonaws.com"
        for name, path in files.items():
            url, body = f"{server}/{quote(f'{self.address}/{day}/{name}')}", path.read_bytes()
            headers = signed_put(url, body, region=self.region, key=self.key, now=self.clock())
            try:
                answer = httpx.put(url, content=body, headers=headers, timeout=SEND_SECONDS)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise NotSentError(f"{day} did not reach the bucket ({type(error).__name__})") from error
            if answer.status_code != httpx.codes.OK:
                told = f"the bucket answered {day} with status {answer.status_code}: {answer.text[:200]}"
                raise NotSentError(told)


def destination(settings: DeviceSettings, *, clock: Callable[[], datetime]) -> Destination | None:
    """Destination that the settings name; None keeps the days on the device alone.

    Raises
    ------
    NotSentError
        When they name one that is not known.
    """
    export_to = settings.export_to
    if not export_to:
        return None
    if export_to == "platform":
        if not settings.platform_url:
            raise NotSentError('export_to is "platform", and platform_url is not set')
        return PlatformDestination(settings.platform_url, settings.platform_key)
    if export_to.startswith("s3://"):
        key = S3Key(settings.s3_access_key, settings.s3_secret_key)
        if not (key.access and key.secret):
            raise NotSentError("export_to is a bucket, and s3_access_key or s3_secret_key is not set")
        address = export_to.removeprefix("s3://").strip("/")
        return S3Destination(address, settings.s3_endpoint, settings.s3_region, key, clock)
    if export_to.startswith("scp:"):
        return ScpDestination(export_to.removeprefix("scp:").rstrip("/"))
    if "://" in export_to:
        raise NotSentError(
            f'export_to is {export_to}: a folder, "platform", "s3://bucket/prefix" or '
            '"scp:user@host:folder" is needed'
        )
    return FolderDestination(Path(export_to))


@dataclass(frozen=True, slots=True)
class Export:
    """Finished days from the database into a folder of files."""

    database: DeviceDatabase
    folder: Path
    symbols: Sequence[str]

    def run(self, to: Destination | None, *, now: datetime) -> int:
        """Write the days that are due, and send those that were not sent yet; return how many were sent.

        Raises
        ------
        NotSentError
            When one did not arrive; those after it wait, so that they arrive in order.
        DayRefusedError
            When one was refused for what it is, after those behind it were sent.
        """
        sent, refused = 0, None
        for day in self._due(now):
            files = self._written(day)
            if to is not None and self.database.marked(_sent(day)) is None:
                try:
                    to.send(day, files)
                except DayRefusedError as error:
                    refused = error
                    self.database.mark(_sent(day), f"{error}", now=now)
                else:
                    self.database.mark(_sent(day), "sent", now=now)
                    sent += 1
        if refused is not None:
            raise refused
        return sent

    def _due(self, now: datetime) -> Iterator[date]:
        """Finished days with bars, the oldest first, but for those whose missing bars may still come.

        A day is finished when there is a bar of the next: a clock that is a day ahead finishes none. A day on
        which the bars begin is whole when the venue has none before; otherwise they are still on their way,
        or the day is cut off by how far back bars are wanted.
        """
        extents = self._extents()
        if not extents:
            return
        known_until = _known_until(extents, now)
        since = known_until - LONGEST_WAIT
        missing = {
            slot.date()
            for symbol in self.symbols
            for slot in self.database.open_gaps(symbol, found_since=since)
        }
        begun = [first for symbol, (first, _) in extents.items() if first != beginning(self.database, symbol)]
        day = min(first for first, _ in extents.values()).date()
        while _midnight(day) + DAY <= known_until:
            if day not in missing and all(first <= _midnight(day) for first in begun):
                yield day
            day += DAY

    def _extents(self) -> Mapping[str, tuple[datetime, datetime]]:
        """First and last bar of each symbol that has any."""
        return {symbol: extent for symbol in self.symbols if (extent := self.database.extent(symbol))}

    def _written(self, day: date) -> Mapping[str, Path]:
        """Files of a day; what was once written stays as it is."""
        folder = self.folder / f"{day}"
        names = (csv_name(day), parquet_name(day), CHECKSUMS)
        files = {name: folder / name for name in names}
        if not files[CHECKSUMS].is_file():
            start = _midnight(day)
            bars = pl.concat(
                self.database.candles_between(symbol, start, start + DAY) for symbol in sorted(self.symbols)
            )
            draft = folder.with_name(f".{day}.new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            text, table = io.BytesIO(), io.BytesIO()
            bars.write_csv(text, datetime_format="%Y-%m-%dT%H:%M:%SZ")
            bars.write_parquet(table)
            contents = {names[0]: text.getvalue(), names[1]: table.getvalue()}
            sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in contents.items())
            for name, body in {**contents, CHECKSUMS: sums.encode()}.items():
                (draft / name).write_bytes(body)
            replace_folder(draft, folder)
        return files

    def forget(self, *, older_than: timedelta, now: datetime) -> None:
        """Drop the files of days that lie so far before the newest bar: a clock that is ahead drops none."""
        extents = self._extents()
        if not extents:
            return
        before = (_known_until(extents, now) - older_than).date()
        for folder in self.folder.glob("????-??-??"):
            if folder.name < f"{before}":
                shutil.rmtree(folder, ignore_errors=True)


def csv_name(day: date) -> str:
    """Name of a day's CSV file."""
    return f"candles-{day}.csv"


def parquet_name(day: date) -> str:
    """Name of a day's Parquet file."""
    return f"candles-{day}.parquet"


def _known_until(extents: Mapping[str, tuple[datetime, datetime]], now: datetime) -> datetime:
    """Time of the newest bar, which the venue's clock has made, or of the device's while that is behind."""
    return min(now, max(last for _, last in extents.values()))


def _sent(day: date) -> str:
    return f"sent: {day}"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
