"""One address for one article, however a feed, a share button or a campaign spells it."""

import re
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

MOST_CHARACTERS = 2_048
# Parameters that say where a reader came from, not what is read.
_CAMPAIGN = ("utm_", "mc_", "at_")
_TRACKING = frozenset(
    {"fbclid", "gclid", "igshid", "ref", "ref_src", "source", "feature", "amp", "cmpid", "s"}
)
_PORTS = {"http": 80, "https": 443}
_LEADING = re.compile(r"\A(?:www\.)+")
_TRAILING = re.compile(r"(?:/amp|/|\s)+\Z")


class AddressRefusedError(Exception):
    """What is given is no address of a page."""


def canonical_address(address: str, *, found_at: str | None = None) -> str:
    """Address without what varies: ``https``, a small host, no fragment, no campaign, parameters in order.

    Parameters
    ----------
    found_at
        Address of the feed or page that a relative one is meant from.

    Raises
    ------
    AddressRefusedError
        When it leads to no web server, or is longer than any page's.
    """
    whole = address.strip()
    try:
        whole = urljoin(found_at, whole) if found_at else whole
        whole.encode()  # half a letter has no bytes
        parts = urlsplit(whole)
        host, port = _LEADING.sub("", (parts.hostname or "").rstrip(".")), parts.port
    except ValueError as error:
        raise AddressRefusedError(f"{whole[:80]!r} is no address: {error}") from error
    if parts.scheme not in _PORTS or not host or re.search(r"\s", host) or len(whole) > MOST_CHARACTERS:
        raise AddressRefusedError(f"{whole[:80]!r} is no address of a page")
    host = f"[{host}]" if ":" in host else host
    place = f"{host}:{port}" if port and port != _PORTS[parts.scheme] else host
    path = _TRAILING.sub("", parts.path)
    asked = sorted(
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name.lower() not in _TRACKING and not name.lower().startswith(_CAMPAIGN)
    )
    return f"https://{place}{path}" + (f"?{urlencode(asked)}" if asked else "")
