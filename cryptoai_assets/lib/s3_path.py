"""A file or folder of an S3 bucket, with as much of `pathlib.Path` as the store needs."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import IO

from pyarrow import fs

CONNECT_SECONDS, REQUEST_SECONDS = 5, 60
SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How a bucket is reached.

    Parameters
    ----------
    endpoint
        Address of a server other than Amazon's, such as ``http://127.0.0.1:9000``; None is Amazon's.
    access_key, secret_key
        Both None: whatever Amazon's own order of precedence finds on this machine.
    """

    region: str
    endpoint: str | None
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)


@cache
def _filesystem(settings: S3Settings) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        region=settings.region,
        endpoint_override=settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        # One PUT for a small object: no upload is left half done on the server when a run is killed.
        allow_delayed_open=True,
    )


@dataclass(frozen=True, slots=True)
class S3Path:
    """An object, or the prefix of many, as in ``S3Path("bucket/prefix", settings) / "BTCUSD"``.

    Whatever the server refuses is an `OSError` that names the key, as with a local path.
    """

    key: str
    settings: S3Settings

    @classmethod
    def from_address(cls, address: str, settings: S3Settings) -> "S3Path":
        """Path of ``s3://bucket/prefix``."""
        return cls(address.removeprefix(SCHEME).rstrip("/"), settings)

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(f"{self.key}/{name}", self.settings)

    def __str__(self) -> str:
        return f"{SCHEME}{self.key}"

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Name without its last suffix."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def _files(self) -> fs.S3FileSystem:
        return _filesystem(self.settings)

    def is_file(self) -> bool:
        """Whether an object has this key."""
        return bool(self._files.get_file_info(self.key).type == fs.FileType.File)

    def glob(self, pattern: str) -> Iterator["S3Path"]:
        """Objects and prefixes right under this one whose names match."""
        listed = self._files.get_file_info(fs.FileSelector(self.key, allow_not_found=True))
        return (self / entry.base_name for entry in listed if fnmatchcase(entry.base_name, pattern))

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Content, read at once; only ``rb`` is known."""
        if mode != "rb":
            raise ValueError(f"{self} is opened for {mode!r}; write_bytes() writes an object")
        with self._files.open_input_file(self.key) as stream:
            return io.BytesIO(stream.read())

    def write_bytes(self, content: bytes) -> None:
        """Put the object; a reader, or a run that was killed, finds the old content or the new one."""
        with self._files.open_output_stream(self.key, compression=None) as stream:
            stream.write(content)

    def fingerprint(self) -> str:
        """Content hash that the server keeps with the object (its ETag); nothing is downloaded.

        Equal content, written by `write_bytes`, has equal fingerprints, unless the bucket encrypts with
        keys of its own (SSE-KMS): there every write counts as a change.
        """
        with self._files.open_input_stream(self.key, compression=None) as stream:
            return str(stream.metadata()["ETag"].decode().strip('"'))
