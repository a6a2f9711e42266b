"""What the edge bundle refuses, as one tree of errors.

EdgeBundleError
├── CandlesRefusedError      a candle frame that is not one closed bar a row, in order, on the grid
├── FactsRefusedError        a fact frame without its columns, or known before it happened
├── ChartRefusedError        candles, or a picture, that no chart of the format can be
├── WindowRefusedError       a market window that the bundle was not made for
├── BundleRefusedError       a bundle folder that is not what its manifest promises
├── ReleaseRefusedError      a release channel that cannot be read
└── OutlookRefusedError      a file of what the news say that cannot be read
"""


class EdgeBundleError(Exception):
    """Base of every error that this distribution's lowest layer raises."""


class CandlesRefusedError(EdgeBundleError):
    """A candle frame breaks its contract; the message names the column, the row and the cure."""


class FactsRefusedError(EdgeBundleError):
    """A fact frame breaks its contract."""


class ChartRefusedError(EdgeBundleError):
    """Candles that a chart cannot be drawn from, or a picture that is not one of the rasterizer's."""


class WindowRefusedError(EdgeBundleError):
    """A market window does not fit the bundle, such as another interval or an unknown symbol."""


class BundleRefusedError(EdgeBundleError):
    """A bundle folder is incomplete, changed, or made by other features than this code's."""


class ReleaseRefusedError(EdgeBundleError):
    """A release channel is malformed or of an unknown schema."""


class OutlookRefusedError(EdgeBundleError):
    """A file of outlooks cannot be read, or is of another form."""
