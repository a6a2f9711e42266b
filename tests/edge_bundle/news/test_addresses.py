"""One address for one article."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.news.addresses import AddressRefusedError, canonical_address

ARTICLE = "https://news.test/a/b"


@pytest.mark.parametrize(
    "spelt",
    [
        "https://news.test/a/b",
        "http://NEWS.test:80/a/b/",
        "https://www.news.test/a/b?utm_source=x&UTM_campaign=y#part",
        " https://news.test:443/a/b?fbclid=1 ",
        "https://news.test/a/b/amp",
        "https://news.test./a/b",
        "https://news.test/a/b\xa0/",
        "https://www.www.news.test/a/b/amp//amp",
    ],
)
def test_spellings_of_one_address_are_one(spelt: str) -> None:
    assert canonical_address(spelt) == ARTICLE


def test_parameters_that_choose_the_page_stay_in_one_order() -> None:
    assert canonical_address("https://n.test/?id=2&b=&a=1") == "https://n.test?a=1&b=&id=2"
    assert canonical_address("https://n.test/x?id=1") != canonical_address("https://n.test/x?id=2")
    assert canonical_address("https://n.test:8443/x") == "https://n.test:8443/x"


def test_address_of_numbers_keeps_its_brackets() -> None:
    assert canonical_address("http://[::1]:8080/x") == "https://[::1]:8080/x"
    assert canonical_address("http://[::1]/x") == "https://[::1]/x"


def test_relative_address_is_meant_from_where_it_was_found() -> None:
    assert canonical_address("../a/b", found_at="https://news.test/feeds/rss") == ARTICLE
    assert canonical_address("//news.test/a/b", found_at="http://other.test/") == ARTICLE


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a/b",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "http://[::1",
        "https://n.test/" + "a" * 3000,
        "https://n.test/?a=\ud800",
        "https://n .test/",
    ],
)
def test_what_leads_to_no_web_server_is_refused(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        canonical_address(address)


@pytest.mark.parametrize("address", ["//[", "http://[::1", "\ud800"])
def test_what_is_no_address_is_refused_wherever_it_was_found(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        canonical_address(address, found_at="https://news.test/feeds/rss")


@given(st.text(max_size=100))
def test_canonical_address_is_its_own(text: str) -> None:
    try:
        found = canonical_address(text, found_at="https://news.test/rss")
    except AddressRefusedError:
        return
    assert canonical_address(found) == found
