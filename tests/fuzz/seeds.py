"""Valid answers of every source, from which the fuzzer sets out, in the shapes that each source documents."""

import io
import json
from datetime import UTC, datetime, timedelta

import polars as pl

START, END = datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 3, 3, tzinfo=UTC)
NOW = datetime(2019, 3, 1, tzinfo=UTC)
SECOND = int(START.timestamp())
_MS, _DAY = SECOND * 1000, 86_400
SYMBOL = "BTCUSDT"


def lines(*answers: object) -> bytes:
    """Answers that are given one after the other."""
    return b"\n".join(json.dumps(answer).encode() for answer in answers)


FEAR_GREED = lines(
    {
        "name": "Fear and Greed Index",
        "data": [
            {"value": "40", "value_classification": "Fear", "timestamp": f"{SECOND + _DAY}"},
            {"value": "39", "value_classification": "Fear", "timestamp": f"{SECOND}"},
        ],
        "metadata": {"error": None},
    }
)
FRED = lines(
    {
        "count": 3,
        "observations": [
            {"realtime_start": "2018-03-02", "date": "2018-03-01", "value": "22.4700"},
            {"realtime_start": "2018-03-09", "date": "2018-03-01", "value": "22.5"},
            {"realtime_start": "2018-03-05", "date": "2018-03-02", "value": "."},
        ],
    }
)
COIN_METRICS = lines(
    {
        "data": [
            {
                "asset": "btc",
                "time": "2018-03-01T00:00:00.000000000Z",
                "AdrActCnt": "650000",
                "TxCnt": None,
                "AssetEODCompletionTime": "1519957000",
                "AdrActCnt-status-time": "2018-03-05T00:00:00.000000000Z",
            }
        ],
        "next_page_url": "https://x.test/v4/timeseries/asset-metrics?assets=btc&next_page_token=0",
    },
    {"data": [{"asset": "btc", "time": "2018-03-02T00:00:00Z", "HashRate": "2.4e19"}]},
)
MEMPOOL_SPACE = lines(
    [{"avgHeight": 511_555, "timestamp": SECOND, "avgFees": 31_000_000}],
    {
        "hashrates": [{"timestamp": SECOND + _DAY, "avgHashrate": 2.4e19}],
        "difficulty": [{"time": SECOND + 3551, "height": 511_560, "difficulty": 3.2e12, "adjustment": 1.05}],
    },
)
COINGECKO_BARS = lines([[_MS + n * 1_800_000, 4.0, 5.0, 3.0, 4.5] for n in range(1, 5)])
COINGECKO_PRICES = lines({"prices": [[_MS + 7, 4.0], [_MS + 300_007, 4.5]], "market_caps": []})
GOOGLE_TRENDS = (
    b"Category: All categories\n\nMonth,bitcoin: (Worldwide),Ethereum: (Worldwide)\n"
    b"2018-01,18,<1\n2018-02,100,\n2018-03,47,3\n",
    b"\xef\xbb\xbfWeek,bitcoin: (Worldwide)\n2018-02-25,61\n2018-03-04,65\n2018-03-11,40\n",
    b'"Time","bitcoin"\n"2018-03-01",10\n"2018-03-02",11\n"2018-03-03",<1\n',
)
DAILY_CSV = b"timestamp,close,date\n1519914600,2677.67,2018-03-01\n1520001000,2691.25,\n1520260200,,\n"
CANDLES_CSV = (
    b"open_time,symbol,open,high,low,close,volume\n"
    b"2018-03-01T00:00:00Z,BTCUSD,4,5,3,4.5,7\n2018-03-01T00:30:00Z,BTCUSD,4.5,5,4,4.25,0\n",
    b"open_time_ms,symbol,open,high,low,close,volume\n1519862400000,BTCUSD,4,5,3,4.5,7\n",
)


def archive(time: str) -> bytes:
    """Parquet file of candles, with its open times under that name."""
    opened = [START + number * timedelta(minutes=30) for number in range(4)]
    prices = {"open": 4.0, "high": 5.0, "low": 3.0, "close": 4.5, "volume": 7.0, "quote_volume": 30.0}
    rows = pl.DataFrame({time: opened, "symbol": ["BTCUSD", "BTCUSD", "ETHUSD", "BTCUSD"]})
    if time.endswith("_ms"):
        rows = rows.with_columns(pl.col(time).dt.epoch("ms"))
    file = io.BytesIO()
    rows.with_columns(pl.lit(price).alias(name) for name, price in prices.items()).write_parquet(
        file, compression="uncompressed"
    )
    return file.getvalue()


# Of each venue: its markets, then its clock and its candles, as its client asks for them.
VENUE_MARKETS = {
    "Binance.US": lines(
        {
            "symbols": [
                {
                    "symbol": SYMBOL,
                    "status": "TRADING",
                    "baseAsset": "BTC",
                    "quoteAsset": "USDT",
                    "isSpotTradingAllowed": True,
                    "permissions": ["SPOT"],
                    "filters": [],
                }
            ]
        }
    ),
    "Kraken": lines(
        {
            "result": {
                "XBTUSDT": {
                    "altname": "XBTUSDT",
                    "wsname": "XBT/USDT",
                    "base": "XXBT",
                    "quote": "USDT",
                    "pair_decimals": 1,
                    "lot_decimals": 8,
                    "leverage_buy": [],
                    "leverage_sell": [],
                    "fees": [[0, 0.26]],
                    "fees_maker": [[0, 0.16]],
                    "status": "online",
                }
            }
        }
    ),
    "Coinbase": lines(
        {
            "products": [
                {
                    "product_id": "BTC-USDT",
                    "base_increment": "0.00000001",
                    "price_increment": "0.01",
                    "product_type": "SPOT",
                    "base_currency_id": "BTC",
                    "quote_currency_id": "USDT",
                }
            ]
        },
        {"products": []},
        {"products": []},
    ),
}
_MINUTES = [SECOND + 60 * n for n in range(4)]
VENUE_CANDLES = {
    "Binance.US": lines(
        {"serverTime": _MS + 10**6},
        [[s * 1000, "4", "5", "3", "4.5", "7", s * 1000 + 59_999, "30", 5, "3", "9", "0"] for s in _MINUTES],
    ),
    "Kraken": lines(
        {"result": {"unixtime": SECOND + 1000}},
        {"result": {"XBTUSDT": [[second, "4", "5", "3", "4.5", "4.2", "7", 9] for second in _MINUTES]}},
    ),
    "Coinbase": lines(
        {"data": {"epoch": SECOND + 1000}},
        {
            "candles": [
                {"start": f"{s}", "low": "3", "high": "5", "open": "4", "close": "4.5", "volume": "7"}
                for s in reversed(_MINUTES)
            ]
        },
    ),
}
_BOOK = {"bids": [["100.5", "2"], ["100", "1"]], "asks": [["101", "3"], ["102", "1"]]}
_TRADE = {"E": _MS, "T": _MS, "s": SYMBOL, "p": "100.5", "q": "2", "X": "MARKET", "m": True}
_BINANCE: tuple[object, ...] = (
    {"lastUpdateId": 4, **_BOOK},
    {"stream": "x", "data": {"e": "depthUpdate", "E": _MS, "T": _MS - 1, "s": SYMBOL, "U": 5, "u": 7, "pu": 4}
     | {"b": [["100.5", "2"]], "a": [["101", "0.000"]]}},
    {"u": 7, "s": SYMBOL, "b": "100.5", "B": "2", "a": "102", "A": "1"},
    {"e": "trade", "t": 9, **_TRADE},
    {"e": "aggTrade", "a": 8, **_TRADE, "m": False},
    {"result": None, "id": 1},
)  # fmt: skip
_STREAMED: tuple[object, ...] = (
    {"streamed_book": {"time_ms": _MS, "update_id": None, "levels": 100, **_BOOK}},
    {"streamed_trade": {"time_ms": _MS, "number": 9, "price": "100.5", "quantity": "2", "buy": False}},
)
_BITSTAMP_BOOK = {"microtimestamp": f"{_MS}000", **_BOOK}
_BITSTAMP: tuple[object, ...] = (
    {"event": "bts:subscription_succeeded", "channel": "live_trades_btcusd", "data": {}},
    {"event": "data", "channel": "order_book_btcusd", "data": _BITSTAMP_BOOK},
    {"event": "data", "channel": "diff_order_book_btcusd", "data": _BITSTAMP_BOOK},
    {
        "event": "trade",
        "channel": "live_trades_btcusd",
        "data": {"id": 9, "price_str": "100.5", "amount_str": "2", "type": 1, "microtimestamp": f"{_MS}000"},
    },
)


def stamped(stamp: str, *messages: object, seconds: int = 20) -> bytes:
    """Lines of a capture, received so many seconds apart."""
    told = (
        stamp.format(SECOND + seconds * n).encode() + json.dumps(one).encode()
        for n, one in enumerate(messages)
    )
    return b"\n".join(told) + b"\n"


BINANCE_CAPTURE = stamped("{}123456789 ", *_BINANCE)
RECORDED = (stamped("{}123456789 ", *_BINANCE, *_BINANCE[3:]), stamped("{}123456789 ", *_STREAMED * 4))
BINANCE_STREAM = b"wss://host/ <-> 1519862399.5\n" + stamped("{}.1234: ", *_BINANCE[1:])
BITSTAMP_STREAM = b'wss://host/ <- 1519862399.5: {"event":"bts:subscribe"}\n' + stamped("{}.5: ", *_BITSTAMP)
BITSTAMP_HTTP = stamped("https://host/api/v2/order_book/btcusd -> {}.5: ", _BITSTAMP_BOOK)
BINANCE_MESSAGE = lines(_BINANCE[1])
STREAMED_TRADES = lines(
    [{"timestamp": _MS, "id": "9", "price": 100.5, "amount": 2.0, "side": "buy", "symbol": "BTC/USDT"}]
)
STREAMED_BOOK = lines({"bids": [[100.5, 2.0]], "asks": [[101.0, 3.0]], "timestamp": _MS, "nonce": 7})
_ITEM = (
    b"<title>Bitcoin &amp; co. rise</title><link>https://n.test/1?utm_source=x</link><guid>1</guid>"
    b"<pubDate>Thu, 01 Mar 2018 11:00:00 GMT</pubDate><description>&lt;p&gt;Much.&lt;/p&gt;</description>"
)
FEEDS = (
    b'<?xml version="1.0"?><rss version="2.0"><channel><title>N</title><language>en</language><item>'
    + _ITEM
    + b"</item></channel></rss>",
    b'<feed xmlns="http://www.w3.org/2005/Atom"><title>N</title><entry><title type="html">Ether</title>'
    b'<link href="/2"/><id>urn:2</id><author><name>Ann</name></author><updated>2018-03-01T11:00:00Z</updated>'
    b"<content>text</content></entry></feed>",
)
ARTICLE = (
    "<html><head><title>T</title></head><body><article><h1>Bitcoin rises</h1>"
    + "<p>Bitcoin rose above a level that it last saw in spring, as traders returned to the market.</p>" * 4
    + "</article></body></html>"
).encode()
OUTLOOKS = json.dumps(
    {
        "known_at": "2026-03-01T12:00:00+00:00",
        "live": True,
        "method": "transformer",
        "method_version": "1",
        "symbols": {
            "BTCUSD": {"values": {"sentiment_24h": 0.3}, "recommendation": "BUY", "reasons": ["much is said"]}
        },
        "market": {"values": {"sentiment_24h": None}, "recommendation": "HOLD", "reasons": []},
        "trending": [{"words": "spot etf", "articles": 9, "expected": 0.5}],
        "schema_version": 1,
    }
).encode()
ROBOTS = b"User-agent: *\nDisallow: /private\nAllow: /\nCrawl-delay: 2\nSitemap: https://n.test/map.xml\n"
NEWS_API = lines(
    {
        "status": "ok",
        "totalResults": 1,
        "articles": [
            {
                "source": {"id": None, "name": "Decrypt"},
                "author": "Ann",
                "title": "Bitcoin rises",
                "description": "Much.",
                "url": "https://decrypt.test/1?b=2&a=1",
                "publishedAt": "2018-03-01T11:00:00Z",
            }
        ],
    }
)
REDDIT = lines(
    {
        "data": {
            "after": "t3_a",
            "children": [
                {
                    "kind": "t3",
                    "data": {
                        "name": "t3_a",
                        "title": "To the moon",
                        "selftext": "<b>ETH</b>",
                        "author": "u",
                        "permalink": "/r/Bitcoin/comments/a/x/",
                        "created_utc": SECOND + 9.0,
                    },
                }
            ],
        }
    },
    {"data": {"after": None, "children": []}},
)
X = lines(
    {
        "data": [{"id": "17", "text": "$BTC up", "lang": "en", "created_at": "2018-03-01T11:00:00.000Z"}],
        "meta": {"next_token": "n"},
    },
    {"meta": {"result_count": 0}},
)
RETRY_AFTER = (b"120", b"Thu, 01 Mar 2018 11:00:00 GMT")
