"""How what goes wrong becomes an answer: one shape, one status for each kind, and no trace of the code."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cryptoai_serving.errors import (
    HostRefusedError,
    KeyFileError,
    KeyNeededError,
    MediaTypeRefusedError,
    NoBarsError,
    NoModelError,
    NoNewsError,
    RangeRefusedError,
    ReleaseNotFoundError,
    RequestRefusedError,
    ScopeNeededError,
    ServingError,
    StoreUnavailableError,
    TooManyRequestsError,
    UnknownAlertError,
    UnknownSymbolError,
)
from cryptoai_serving.messages import ErrorAnswer
from edge_bundle.errors import EdgeBundleError, FactsRefusedError

STATUS: dict[type[Exception], int] = {
    KeyNeededError: 401,
    HostRefusedError: 403,
    ScopeNeededError: 403,
    UnknownSymbolError: 404,
    ReleaseNotFoundError: 404,
    UnknownAlertError: 404,
    MediaTypeRefusedError: 415,
    RangeRefusedError: 416,
    RequestRefusedError: 422,
    EdgeBundleError: 422,
    TooManyRequestsError: 429,
    NoModelError: 503,
    NoBarsError: 503,
    NoNewsError: 503,
    StoreUnavailableError: 503,
    KeyFileError: 503,
}
CURES = {
    400: "send well-formed JSON",
    404: "see /api/docs for the addresses",
    405: "see /api/docs for the methods",
    413: "send fewer bars: those that the model needs are enough",
    415: "send the body as it is, without a content-encoding",
}
_UNION_TAGS = {"columns", "rows", "int", "str", "constrained-int", "constrained-str"}


def answer_errors(app: FastAPI) -> None:
    """Give an application the handlers of this module."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(EdgeBundleError, _edge_bundle_error)


def request_id(request: Request) -> str:
    """Id under which a request is answered and logged."""
    return str(request.scope["state"]["request_id"])


def unforeseen(request: Request) -> Response:
    """Answer for what nothing else caught; what happened is in the log."""
    return _error(
        request,
        500,
        code="internal",
        problem="the service failed on this request",
        where=None,
        cure=f"report it with the request id {request_id(request)}",
    )


def described(error: ServingError | EdgeBundleError, *, request_id: str) -> ErrorAnswer:
    """One shape for both trees of errors."""
    if isinstance(error, ServingError):
        return ErrorAnswer(
            code=error.code, problem=error.problem, where=error.where, cure=error.cure, request_id=request_id
        )
    return ErrorAnswer(
        code=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower(),
        problem=str(error),
        where="no_trade" if isinstance(error, FactsRefusedError) else "candles",
        cure="mend the bars that are named and send them again; /models tells what the model reads",
        request_id=request_id,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 — as it was registered
    first, *others = error.errors()
    place = [_short(part) for part in first["loc"] if part not in _UNION_TAGS]
    problem = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        problem = f"the body is not JSON: {first['ctx']['error']}"
    elif isinstance(first["input"], bytes):
        problem = "the body is not sent as JSON: the header content-type: application/json is needed"
    elif not isinstance(first["input"], dict | list):
        problem = f"{_short(ascii(first['input']))}: {problem}"
    if others:
        problem += f" (and {len(others)} more)"
    return _error(
        request,
        422,
        code="invalid_request",
        problem=problem,
        where=".".join(place[1:]) or place[0],
        cure="see /api/docs for the shape of the request",
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — as it was registered
    return _error(
        request,
        error.status_code,
        code=re.sub(r"\W+", "_", HTTPStatus(error.status_code).phrase).lower(),
        problem=str(error.detail),
        where=None,
        cure=CURES.get(error.status_code, "see /api/docs"),
        headers=error.headers,
    )


async def _serving_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)  # noqa: S101 — as it was registered
    answer = described(error, request_id=request_id(request))
    return JSONResponse(answer.model_dump(), _status(error), headers=_headers(error))


async def _edge_bundle_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeBundleError)  # noqa: S101 — as it was registered
    return JSONResponse(described(error, request_id=request_id(request)).model_dump(), _status(error))


def _status(error: Exception) -> int:
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def _headers(error: ServingError) -> dict[str, str]:
    match error:
        case KeyNeededError():
            return {"www-authenticate": "Bearer"}
        case TooManyRequestsError(retry_seconds=seconds):
            return {"retry-after": str(seconds)}
        case RangeRefusedError(size=size):
            return {"content-range": f"bytes */{size}"}
        case _:
            return {}


def _error(
    request: Request,
    status: int,
    *,
    code: str,
    problem: str,
    where: str | None,
    cure: str,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    answer = ErrorAnswer(code=code, problem=problem, where=where, cure=cure, request_id=request_id(request))
    return JSONResponse(answer.model_dump(), status, headers=headers)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
