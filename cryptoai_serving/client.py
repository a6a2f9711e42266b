"""A client of the service for Python programs: typed answers, typed errors, and patience where it helps.

ClientError
├── RequestRejectedError     the service refuses this request; asking again changes nothing
├── ServiceBusyError         not for now, and still not after all attempts
├── UnreachableError         no answer came, after all attempts
└── StrangeAnswerError       something answered that is not this service
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import polars as pl
from pydantic import BaseModel, ValidationError

from cryptoai_serving.bar_messages import BarsAnswer
from cryptoai_serving.experiment_messages import (
    ExperimentEndMessage,
    ExperimentFiled,
    ExperimentPlanMessage,
    ExperimentsAnswer,
)
from cryptoai_serving.insight_messages import (
    BatchAnswer,
    InsightsAnswer,
    PatternsAnswer,
    PricePredictionAnswer,
    SignalsAnswer,
    StatusAnswer,
)
from cryptoai_serving.messages import (
    NUMBER_COLUMNS,
    ErrorAnswer,
    ForecastAnswer,
    ModelsAnswer,
    ReadinessAnswer,
)
from cryptoai_serving.release_messages import PromotionFiled, ReleasesAnswer
from cryptoai_serving.release_requests import RequestKind

ADDRESS = "http://127.0.0.1:3600"
ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 60.0
# Too many requests, or not for now: both pass by themselves.
PASSING = (429, 503)
Answer = TypeVar("Answer", bound=BaseModel)


class ClientError(Exception):
    """Base of the errors of this module."""


class RequestRejectedError(ClientError):
    """The service refuses the request; `answer` says what is wrong, where, and what to do."""

    def __init__(self, status: int, answer: ErrorAnswer) -> None:
        super().__init__(f"{status} {answer.code}: {answer.problem}; {answer.cure}")
        self.status = status
        self.answer = answer


class ServiceBusyError(RequestRejectedError):
    """The service could not answer for now: a limit was reached, or what it reads is not there."""


class UnreachableError(ClientError):
    """No answer came."""


class StrangeAnswerError(ClientError):
    """What answered does not speak as this service does."""


class ForecastClient:
    """Asks one service; nothing is opened before the first question.

    What passes by itself is asked again, when ``Retry-After`` says or after a pause that doubles; what would
    be carried out twice is not sent again once it may have arrived.

    Parameters
    ----------
    key
        API key; None where the service asks for none.
    user_id
        Whoever asks, for experiments; any name that stays the same.
    attempts
        Of one question, the first one included.
    longest_wait_seconds
        The most that is waited for one more attempt; a longer ``Retry-After`` is an error at once.
    sleep, clock
        Handed in by tests.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        key: str | None = None,
        user_id: str | None = None,
        timeout_seconds: float = 10.0,
        attempts: int = ATTEMPTS,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=address, headers=headers, timeout=timeout_seconds, transport=transport
        )
        self._user = {"user_id": user_id} if user_id else {}
        self._attempts = attempts
        self._longest_wait = longest_wait_seconds
        self._sleep = sleep
        self._clock = clock

    def forecast(self, symbol: str) -> ForecastAnswer:
        """Forecast from the latest bars of the service's store.

        Raises
        ------
        ClientError
            Like every question: when there is no answer, with the reason.
        """
        return self._get(f"/forecast/{_part(symbol)}", ForecastAnswer, self._user)

    def forecast_from(self, candles: pl.DataFrame) -> ForecastAnswer:
        """Forecast from closed bars.

        Parameters
        ----------
        candles
            ``open_time`` with a time zone, ``symbol``, ``open``, ``high``, ``low``, ``close``, ``volume``.
        """
        columns: dict[str, object] = {name: candles[name].to_list() for name in ("symbol", *NUMBER_COLUMNS)}
        columns["open_time"] = candles["open_time"].dt.epoch("ms").to_list()
        return self._post("/forecast", {"candles": columns}, ForecastAnswer, self._user)

    def forecasts(self, symbols: Sequence[str]) -> BatchAnswer:
        """Forecasts of several symbols, each or its own error."""
        return self._post("/forecast/batch", {"symbols": list(symbols)}, BatchAnswer, self._user)

    def insights(self, symbol: str) -> InsightsAnswer:
        """Everything about a symbol at once."""
        return self._get(f"/api/ml/insights/{_part(symbol)}", InsightsAnswer, self._user)

    def bars(self, symbol: str, bars: int) -> BarsAnswer:
        """At most so many of the newest closed bars of a symbol."""
        return self._get(f"/bars/{_part(symbol)}", BarsAnswer, {"bars": str(bars)})

    def price_prediction(self, symbol: str) -> PricePredictionAnswer:
        """Prices to come."""
        return self._get(f"/api/ml/price-prediction/{_part(symbol)}", PricePredictionAnswer, self._user)

    def signals(self, symbol: str) -> SignalsAnswer:
        """BUY, SELL or HOLD for each horizon."""
        return self._get(f"/api/ml/signals/{_part(symbol)}", SignalsAnswer, self._user)

    def patterns(self, symbol: str) -> PatternsAnswer:
        """Candlestick patterns in the latest bars."""
        return self._get(f"/api/ml/patterns/{_part(symbol)}", PatternsAnswer)

    def status(self) -> StatusAnswer:
        """State of the service."""
        return self._get("/api/ml/status", StatusAnswer)

    def models(self) -> ModelsAnswer:
        """What is loaded, and what it needs."""
        return self._get("/models", ModelsAnswer)

    def releases(self, model: str) -> ReleasesAnswer:
        """Versions of a model that may run."""
        return self._get(f"/releases/{_part(model)}", ReleasesAnswer)

    def readiness(self) -> ReadinessAnswer:
        """Tell whether forecasts can be given, and why not; asked once."""
        response = self._sent(self._http.build_request("GET", "/readyz"), attempts=1)
        return _parsed(response, ReadinessAnswer)

    def ask_for(self, kind: RequestKind, model: str, *, version: int, reason: str) -> PromotionFiled:
        """File a request for a promotion or a rollback, which the platform carries out or refuses."""
        path = f"/models/{_part(model)}/{'promote' if kind == 'promotion' else 'rollback'}"
        wanted = {"version": version, "reason": reason}
        return self._post(path, wanted, PromotionFiled, twice_is_once=False)

    def experiments(self, model: str) -> ExperimentsAnswer:
        """What experiment runs, how far the newest is, and what became of requests."""
        return self._get(_experiments(model), ExperimentsAnswer)

    def begin_experiment(self, model: str, plan: ExperimentPlanMessage) -> ExperimentFiled:
        """File a request to hold a version against the champion; the platform begins or refuses it."""
        return self._post(_experiments(model), plan.model_dump(), ExperimentFiled, twice_is_once=False)

    def end_experiment(self, model: str, name: str, *, reason: str) -> ExperimentFiled:
        """File a request to end an experiment; before its length it is stopped, without a verdict."""
        path = f"{_experiments(model)}/{_part(name)}/end"
        wanted = ExperimentEndMessage(reason=reason).model_dump()
        return self._post(path, wanted, ExperimentFiled, twice_is_once=False)

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, path: str, answer: type[Answer], asked: Mapping[str, str] | None = None) -> Answer:
        return self._answered(self._http.build_request("GET", path, params=asked or {}), answer)

    def _post(
        self,
        path: str,
        body: Mapping[str, object],
        answer: type[Answer],
        asked: Mapping[str, str] | None = None,
        *,
        twice_is_once: bool = True,
    ) -> Answer:
        request = self._http.build_request("POST", path, json=dict(body), params=asked or {})
        return self._answered(request, answer, twice_is_once=twice_is_once)

    def _answered(
        self, request: httpx.Request, answer: type[Answer], *, twice_is_once: bool = True
    ) -> Answer:
        response = self._sent(request, attempts=self._attempts, twice_is_once=twice_is_once)
        if response.is_success:
            return _parsed(response, answer)
        kind = ServiceBusyError if response.status_code in PASSING else RequestRejectedError
        raise kind(response.status_code, _parsed(response, ErrorAnswer))

    def _sent(self, request: httpx.Request, *, attempts: int, twice_is_once: bool = True) -> httpx.Response:
        """Send until there is an answer that stays, or no attempt is left."""
        for attempt in range(1, attempts + 1):
            wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                if attempt == attempts or not (twice_is_once or isinstance(error, httpx.ConnectError)):
                    raise UnreachableError(f"{request.url}: {error or type(error).__name__}") from error
            else:
                if response.status_code not in PASSING or attempt == attempts:
                    return response
                wait = max(wait, self._retry_after(response))
                if wait > self._longest_wait:
                    return response
            self._sleep(wait)
        raise AssertionError("unreachable: one attempt at least is made")

    def _retry_after(self, response: httpx.Response) -> float:
        """Seconds until the service wants to be asked again; 0 when it does not say.

        Source: RFC 9110, 10.2.3: whole seconds, or a date.
        """
        said = response.headers.get("retry-after", "")
        if said.isdecimal():
            return float(said)
        try:
            return max((parsedate_to_datetime(said) - self._clock()).total_seconds(), 0.0)
        except (ValueError, TypeError):
            return 0.0


def _part(name: str) -> str:
    """One part of a path, whatever the name holds."""
    return quote(name, safe="")


def _experiments(model: str) -> str:
    return f"/models/{_part(model)}/experiments"


def _parsed(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        raise StrangeAnswerError(
            f"{response.request.url} answered {response.status_code} without a {answer.__name__}: "
            f"{response.text[:80]!r}"
        ) from error
