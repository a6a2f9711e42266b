"""What the service cannot answer, as one tree of errors.

ServingError
├── NoModelError             no verified bundle is loaded
├── UnknownSymbolError       the loaded bundle does not know the symbol
├── NoBarsError              the online store holds no bar of a known symbol
├── RequestRefusedError      a request that does not fit the loaded bundle
│   ├── TooFewBarsError      fewer bars than a forecast needs
│   └── DailyFileRefusedError  a file that is no day of candles
├── MediaTypeRefusedError    a body of another kind than is read
├── NoNewsError              nothing was told of the news yet
├── StoreUnavailableError    a database cannot be read or written now
├── KeyNeededError           no key, or one that is not valid
├── HostRefusedError         no key, and a name of the service that it does not go by
├── ScopeNeededError         a key that does not open this address
├── TooManyRequestsError     more requests than the key may make
├── KeyFileError             a file of keys that cannot be read
├── ReleaseNotFoundError     a model, version or file that is not released
├── UnknownAlertError        no alert has this id
└── RangeRefusedError        a part of a file that it does not have
"""

import os
from pathlib import Path
from typing import ClassVar

from edge_bundle.errors import EdgeBundleError


class ServingError(Exception):
    """Base of the errors of this distribution; `where` and `cure` go to the client as they are."""

    code: ClassVar[str]

    def __init__(self, problem: str, *, where: str | None = None, cure: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.cure = cure


class NoModelError(ServingError):
    """No verified bundle is loaded."""

    code = "no_model"


class UnknownSymbolError(ServingError):
    """The loaded bundle does not know the symbol."""

    code = "unknown_symbol"


class NoBarsError(ServingError):
    """The online store holds no bar of a known symbol."""

    code = "no_bars"


class NoNewsError(ServingError):
    """Nothing was told of the news yet."""

    code = "no_news"


class RequestRefusedError(ServingError):
    """A request does not fit the loaded bundle."""

    code = "request_refused"


class TooFewBarsError(RequestRefusedError):
    """Fewer bars were given than a forecast needs."""

    code = "too_few_bars"


class DailyFileRefusedError(RequestRefusedError):
    """A file holds anything but the candles of one day that it promises."""

    code = "daily_file"


class MediaTypeRefusedError(ServingError):
    """A body of another kind than is read."""

    code = "media_type"


class StoreUnavailableError(ServingError):
    """A database cannot be read or written now."""

    code = "store_unavailable"


class KeyNeededError(ServingError):
    """No key was given, or one that is unknown or revoked."""

    code = "key_needed"


class HostRefusedError(ServingError):
    """No key was given, and the service was asked by a name that it does not go by."""

    code = "host_refused"


class ScopeNeededError(ServingError):
    """The key does not open this address."""

    code = "scope_needed"


class TooManyRequestsError(ServingError):
    """More requests than the key may make; `retry_seconds` is the time until the next may come."""

    code = "too_many_requests"

    def __init__(self, problem: str, *, cure: str, retry_seconds: int) -> None:
        super().__init__(problem, cure=cure)
        self.retry_seconds = retry_seconds


class KeyFileError(ServingError):
    """The file of keys cannot be read."""

    code = "key_file"


class ReleaseNotFoundError(ServingError):
    """No such model, version or file is released."""

    code = "release_not_found"


class UnknownAlertError(ServingError):
    """No alert has this id."""

    code = "unknown_alert"


class RangeRefusedError(ServingError):
    """The file has no such part; `size` is the file's, in bytes."""

    code = "range_refused"

    def __init__(self, problem: str, *, cure: str, size: int) -> None:
        super().__init__(problem, where="range", cure=cure)
        self.size = size


def without_place(error: BaseException) -> str:
    """What went wrong, for a client who need not know the folders of this machine."""
    first = error.__cause__ or error
    if isinstance(first, OSError):
        return first.strerror or type(first).__name__
    return str(first)


def reason_of(error: Exception, *, releases: Path) -> str:
    """Why a release or an experiment stays out, in letters that every log, answer and outbox can write.

    A name in a damaged file may hold halves of letters. Files are named as they lie below `releases`, whose
    own place on this machine nobody who asks the service need know.
    """
    reason = str(error) if isinstance(error, EdgeBundleError) else f"{type(error).__name__}: {error}"
    return reason.replace(f"{releases}{os.sep}", "").encode(errors="backslashreplace").decode()
