"""The signature under which S3 takes an object; the clients of S3 are larger than the device's own programs.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)",
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class S3Key:
    """Who puts an object."""

    access: str
    secret: str = field(repr=False)


def signed_put(url: str, body: bytes, *, region: str, key: S3Key, now: datetime) -> dict[str, str]:
    """Headers of a PUT without parameters.

    Parameters
    ----------
    url
        With its path escaped.
    now
        In UTC; a server refuses one that is a quarter of an hour off.
    """
    parts, stamp, content = urlsplit(url), f"{now:%Y%m%dT%H%M%SZ}", hashlib.sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": content, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"PUT\n{parts.path}\n\n{lines}\n{names}\n{content}"
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signer = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        signer = hmac.digest(signer, part.encode(), "sha256")
    signature = hmac.digest(signer, text.encode(), "sha256").hex()
    told = f"{ALGORITHM} Credential={key.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": told}
