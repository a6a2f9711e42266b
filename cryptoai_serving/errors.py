"""What the service cannot answer, as one tree of errors.

ServingError
├── NoModelError             no verified bundle is loaded
├── UnknownSymbolError       the loaded bundle does not know the symbol
├── NoBarsError              the online store holds no bar of a known symbol
├── RequestRefusedError      a request that does not fit the loaded bundle
│   └── TooFewBarsError      fewer bars than a forecast needs
└── StoreUnavailableError    a database cannot be read or written now
"""

from typing import ClassVar


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


class RequestRefusedError(ServingError):
    """A request does not fit the loaded bundle."""

    code = "request_refused"


class TooFewBarsError(RequestRefusedError):
    """Fewer bars were given than a forecast needs."""

    code = "too_few_bars"


class StoreUnavailableError(ServingError):
    """A database cannot be read or written now."""

    code = "store_unavailable"
