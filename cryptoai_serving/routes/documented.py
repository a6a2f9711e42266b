"""What every route says about the answers that are no success, for the OpenAPI document."""

from typing import Annotated, Any

from fastapi import Path

from cryptoai_serving.messages import ErrorAnswer

Responses = dict[int | str, dict[str, Any]]


def _refusal(status: int, description: str) -> Responses:
    return {status: {"model": ErrorAnswer, "description": description}}


EVERYWHERE = _refusal(422, "The request does not fit") | _refusal(500, "The service failed on this request")
GUARDED = (
    _refusal(401, "No key, or one that is unknown or revoked")
    | _refusal(403, "A key without the scope of this address")
    | _refusal(429, "More requests than the key may make; Retry-After says when to come again")
    | _refusal(503, "Not for now: no verified model, no bars, or a store that cannot be read")
)
BODY = (
    _refusal(400, "A body that cannot be read")
    | _refusal(413, "A body over the limit")
    | _refusal(415, "A body with a content-encoding, or of a kind that is not read")
)
SYMBOL = _refusal(404, "A symbol that the model does not know")
RELEASE = _refusal(404, "A model, version or file that is not released")
RANGE: Responses = {
    206: {"description": "The part that was asked for"},
    304: {"description": "The file is the one that the client has"},
    **_refusal(416, "The file has no such part"),
}

SymbolPath = Annotated[
    str, Path(pattern=r"^[A-Z0-9]{2,20}$", description="One of those in /models", examples=["BTCUSD"])
]
# A name never starts with a dot and never holds a slash: it names nothing outside its folder.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ModelName = Annotated[
    str, Path(pattern=NAME, description="Registered name", examples=["cryptoai-forecaster-sample"])
]
