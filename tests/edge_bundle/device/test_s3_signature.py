"""The signature of a PUT is the one that Amazon's own client makes, and another for whatever differs."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.device.s3_signature import S3Key, signed_put

KEY = S3Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
URL, REGION = "https://s3.eu-west-1.amazonaws.com/bucket/day/candles.csv", "eu-west-1"
STAMP = "%Y%m%dT%H%M%SZ"


def signature(url: str = URL, body: bytes = b"x", *, region: str = REGION, key: S3Key = KEY) -> str:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return signed_put(url, body, region=region, key=key, now=now)["authorization"]


@given(st.text(max_size=40), st.binary(max_size=200), st.sampled_from(["us-east-1", "eu-west-1"]))
def test_signature_is_that_of_amazons_own_client(name: str, body: bytes, region: str) -> None:
    path = quote(f"bucket/{name}".encode(errors="replace"))
    url = f"http://127.0.0.1:9000/{path}"
    theirs = AWSRequest("PUT", url, data=body)
    S3SigV4Auth(Credentials(KEY.access, KEY.secret), "s3", region).add_auth(theirs)
    now = datetime.strptime(theirs.headers["X-Amz-Date"], STAMP).replace(tzinfo=UTC)
    ours = signed_put(url, body, region=region, key=KEY, now=now)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-content-sha256"] == theirs.headers["X-Amz-Content-SHA256"]


def test_signature_holds_for_one_object_one_content_one_place_one_key_and_one_time() -> None:
    later = signed_put(
        URL, b"x", region=REGION, key=KEY, now=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=1)
    )["authorization"]
    others = (
        signature(URL + "2"),
        signature(body=b"y"),
        signature(region="us-east-1"),
        signature(key=S3Key(KEY.access, "other")),
        later,
    )
    assert len({signature(), *others}) == 1 + len(others)


def test_secret_is_not_shown() -> None:
    assert KEY.secret not in repr(KEY) + signature()
