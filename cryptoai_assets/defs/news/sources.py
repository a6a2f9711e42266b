"""The sources of news of a market: feeds by setting, and what asks for a key, each known by its name."""

from collections.abc import Mapping
from datetime import timedelta

from cryptoai_assets.defs.resources import TIMEOUT_SECONDS, MarketResource
from cryptoai_assets.lib.news import social
from cryptoai_assets.lib.news.article_texts import ArticleTexts
from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import NewsSource
from cryptoai_assets.lib.news.telegram import TelegramKey, TelegramSource, TelethonChannels
from cryptoai_assets.lib.news.visits import Visitor
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.news import news_api
from edge_bundle.news.feed_addresses import FEEDS
from edge_bundle.news.feed_items import USER_AGENT

VISITS_PER_SECOND = 0.5
SUBREDDITS = ("CryptoCurrency", "Bitcoin", "ethereum")
# Before the first visit, as far back as any source goes.
REACH = timedelta(days=30)
CONTACT = "CRYPTOAI_CONTACT"
EVERY_FEED = "all"
# For the hundreds of messages of a channel.
TELEGRAM_TIMEOUT_SECONDS = 60.0
_SIMULATED_RATE = 1e3


def news_sources(market: MarketResource) -> tuple[NewsSource, ...]:
    """Every source that the market could ask; none where it ends with its data."""
    if not market.settings.grows:
        return ()
    simulated = market.settings.source == "sandbox"
    home = f"{market.sandbox}/news" if simulated else None
    visitor = Visitor(
        user_agent(market.secret(CONTACT)),
        _SIMULATED_RATE if home else VISITS_PER_SECOND,
        TIMEOUT_SECONDS,
        market.patience,
        market.clock,
    )
    feeds = {"simulated feed": f"{home}/rss"} if home else {**FEEDS, **market.news_feeds}
    return (
        *(
            FeedSource(name, address, visitor, _texts(market, address, visitor))
            for name, address in feeds.items()
        ),
        _news_api(market, home),
        _reddit(market, home),
        _x(market),
        _telegram(market),
    )


def user_agent(contact: str | None) -> str:
    """How we name ourselves to a site, with an address to write to where one is set."""
    return f"{USER_AGENT[:-1]}; {contact})" if contact else USER_AGENT


def _texts(market: MarketResource, address: str, visitor: Visitor) -> ArticleTexts | None:
    """Reader of whole articles for a feed whose host is set, with or without www."""
    host = address.partition("://")[2].partition("/")[0].removeprefix("www.")
    wanted = {name.removeprefix("www.") for name in market.article_texts}
    return ArticleTexts(visitor) if {host, EVERY_FEED} & wanted else None


def _telegram(market: MarketResource) -> NewsSource:
    api_id = market.secret("CRYPTOAI_TELEGRAM_API_ID")
    api_hash = market.secret("CRYPTOAI_TELEGRAM_API_HASH")
    session = market.secret("CRYPTOAI_TELEGRAM_SESSION")
    channels = None
    if api_id and api_id.isdecimal() and api_hash and session:
        channels = TelethonChannels(TelegramKey(int(api_id), api_hash, session), TELEGRAM_TIMEOUT_SECONDS)
    return TelegramSource(channels, market.telegram_channels)


def _news_api(market: MarketResource, home: str | None) -> NewsSource:
    key = "simulated" if home else market.secret("CRYPTOAI_NEWSAPI_KEY")
    secrets = {news_api.KEY_NAME: key} if key else {}
    rate = news_api.REQUESTS_PER_SECOND
    return social.NewsApiSource(
        _web(market, "NewsAPI", home or news_api.URL, rate, secrets, {}, simulated=home is not None),
        news_api.QUERY,
    )


def _reddit(market: MarketResource, home: str | None) -> NewsSource:
    client, secret = (
        market.secret("CRYPTOAI_REDDIT_CLIENT_ID"),
        market.secret("CRYPTOAI_REDDIT_CLIENT_SECRET"),
    )
    key = social.RedditKey(client, secret) if client and secret else None
    rate = social.REDDIT_REQUESTS_PER_SECOND
    return social.RedditSource(
        _web(market, "Reddit", home or social.REDDIT_URL, rate, {}, {}, simulated=home is not None),
        home or social.REDDIT_LOGIN_URL,
        social.RedditKey("simulated", "simulated") if home else key,
        SUBREDDITS,
        user_agent(market.secret(CONTACT)),
    )


def _x(market: MarketResource) -> NewsSource:
    token = market.secret("CRYPTOAI_X_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    rate = social.X_REQUESTS_PER_SECOND
    return social.XSource(_web(market, "X", social.X_URL, rate, {}, headers, simulated=False), news_api.QUERY)


def _web(
    market: MarketResource,
    name: str,
    address: str,
    rate: float,
    secrets: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    simulated: bool,
) -> WebClient:
    return WebClient(
        f"simulated {name}" if simulated else name,
        address,
        requests_per_second=_SIMULATED_RATE if simulated else rate,
        timeout_seconds=TIMEOUT_SECONDS,
        patience=market.patience,
        clock=market.now,
        secrets=secrets,
        secret_headers=headers,
    )
