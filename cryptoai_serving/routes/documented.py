"""What every route says about the answers that are no success, for the OpenAPI document."""

from typing import Annotated, Any

from fastapi import Path, Request

from cryptoai_serving.errors import RequestRefusedError
from cryptoai_serving.messages import ErrorAnswer

Responses = dict[int | str, dict[str, Any]]


def _refusal(status: int, description: str) -> Responses:
    return {status: {"model": ErrorAnswer, "description": description}}


EVERYWHERE = _refusal(422, "The request does not fit") | _refusal(500, "The service failed on this request")
GUARDED = (
    _refusal(401, "No key, or one that is unknown or revoked")
    | _refusal(403, "A key without the scope of this address; without a key, a host that is not known")
    | _refusal(429, "More requests than the key may make; Retry-After says when to come again")
    | _refusal(503, "Not for now: no verified model, no bars, or a store that cannot be read")
)
BODY = (
    _refusal(400, "A body that cannot be read")
    | _refusal(413, "A body over the limit")
    | _refusal(415, "A body with a content-encoding, or of a kind that is not read")
)
SYMBOL = _refusal(404, "A symbol that the model does not know")
ALERT = _refusal(404, "No alert has this id")
RELEASE = _refusal(404, "A model, version or file that is not released")
RANGE: Responses = {
    206: {"description": "The part that was asked for"},
    304: {"description": "The file is the one that the client has"},
    **_refusal(416, "The file has no such part"),
}

SymbolPath = Annotated[
    str, Path(pattern=r"^[A-Z0-9]{2,20}$", description="One of those in /models", examples=["BTCUSD"])
]
AlertId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{16}$", description="As /alerts tells it", examples=["7d1b2c485f3c9a0e"])
]
# A name never starts with a dot and never holds a slash: it names nothing outside its folder.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ModelName = Annotated[
    str, Path(pattern=NAME, description="Registered name", examples=["cryptoai-forecaster-sample"])
]


LONGEST_USER_ID = 128
# Read by hand: the framework's way of reading one parameter takes as long as all else that is done for a
# forecast that is kept.
NAMED_USER: dict[str, Any] = {
    "parameters": [
        {
            "name": "user_id",
            "in": "query",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_USER_ID},
            "description": "Whoever asks, by any name that stays the same: an experiment answers a user with "
            "the same version every time. The name itself is not kept.",
            "example": "user-17",
        }
    ]
}


def user_id(request: Request) -> str | None:
    """Name that the user gave, if any; of routes that document `NAMED_USER`.

    Raises
    ------
    RequestRefusedError
        When it is empty or too long.
    """
    if not request.scope["query_string"]:
        return None
    name = request.query_params.get("user_id")
    if name is not None and not 1 <= len(name) <= LONGEST_USER_ID:
        raise RequestRefusedError(
            f"a user_id of {len(name)} characters",
            where="query.user_id",
            cure=f"send 1 to {LONGEST_USER_ID} characters, or leave it out",
        )
    return name
