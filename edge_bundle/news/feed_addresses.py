"""The feeds that are read where nothing else is set."""

from collections.abc import Mapping
from types import MappingProxyType

FEEDS: Mapping[str, str] = MappingProxyType(
    {
        "CoinDesk": "https://www.coindesk.com/arc/outboundfeeds/rss/",
        "CryptoSlate": "https://cryptoslate.com/feed/",
        "Cointelegraph": "https://cointelegraph.com/rss",
        "Decrypt": "https://decrypt.co/feed",
        "Bitcoin Magazine": "https://bitcoinmagazine.com/feed",
    }
)
