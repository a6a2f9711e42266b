"""Who may ask what: a key with its scope, or the machine itself while there are no keys; and how often."""

import ipaddress
import re
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from cryptoai_serving.errors import HostRefusedError, KeyNeededError, ScopeNeededError, TooManyRequestsError
from cryptoai_serving.keys import ApiKey, KeyWatch, Scope
from cryptoai_serving.rate_limits import Allowance, RateLimits

# Without keys the machine itself may do all but what changes things for others.
OPEN_SCOPES: tuple[Scope, ...] = ("read", "device")
# A request that was passed on may come from anywhere, whoever passed it on.
PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip")
# A name or an address, the port behind it.
_HOST = re.compile(r"(?:([a-z0-9._-]+)|\[([0-9a-f:]+)\])(?::[0-9]*)?", re.IGNORECASE)
STRANGERS_A_MINUTE = 60
SECURITY_SCHEME = "key"
MAKE_A_KEY = "make a key with python -m cryptoai_serving.keys, and send it as Authorization: Bearer KEY"


class Guard:
    """Admits a request, or says why not; counts it against its caller's limit either way.

    Parameters
    ----------
    hosts
        Names besides ``localhost`` by which the machine itself may ask without a key. Whoever owns another
        name can lead it to this machine, so that scripts of a page of that name would ask from here.
        Source: https://github.com/nccgroup/singularity/wiki/Preventing-DNS-Rebinding-Attacks
    """

    def __init__(self, *, keys: KeyWatch, limits: RateLimits, a_minute: int, hosts: Collection[str]) -> None:
        self._keys = keys
        self._limits = limits
        self._a_minute = a_minute
        self._hosts = {"localhost", *hosts}

    def admit(self, request: Request, scope: Scope) -> None:
        """Check key or host, limit and scope, in this order.

        Raises
        ------
        KeyNeededError, HostRefusedError, ScopeNeededError, TooManyRequestsError, KeyFileError
            When the request may not be answered.
        """
        ring, token = self._keys.ring, _token(request)
        key = ring.found(token) if ring and token else None
        from_here = ring is None and not token and _from_this_machine(request)
        if key is not None:
            self._count(request, key.id, key.requests_a_minute or self._a_minute)
        elif from_here and self._goes_by(_host(request)):
            self._count(request, "loopback", self._a_minute)
        else:
            self._count(request, f"stranger {_address(request)}", STRANGERS_A_MINUTE)
            raise _unknown_host(request) if from_here else _stranger(token)
        scopes = key.scopes if key else OPEN_SCOPES
        if scope not in scopes:
            raise ScopeNeededError(
                f"this address needs the scope {scope}, {_owner(key)} {', '.join(scopes)}",
                cure=f"ask with a key that was made with --scope {scope}",
            )

    def count_link(self, request: Request) -> None:
        """Count who comes with a link that was signed for one thing, which needs no key.

        Raises
        ------
        TooManyRequestsError
            When too many come from one address.
        """
        self._count(request, f"link {_address(request)}", STRANGERS_A_MINUTE)

    def _goes_by(self, host: str) -> bool:
        return host in self._hosts or _is_loopback(host)

    def _count(self, request: Request, caller: str, a_minute: int) -> None:
        state = request.scope["state"]
        allowance: Allowance = self._limits.take(caller, a_minute=a_minute)
        state["caller"], state["allowance"] = caller, allowance
        if allowance.retry_seconds:
            raise TooManyRequestsError(
                f"over {a_minute} requests a minute",
                cure=f"ask again in {allowance.retry_seconds} s",
                retry_seconds=allowance.retry_seconds,
            )


def guarded(scope: Scope) -> type[APIRoute]:
    """Class of routes that need a scope; it is checked before the body is read."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def admitted(request: Request) -> Response:
                guard = request.app.state.guard
                assert isinstance(guard, Guard)  # noqa: S101 — narrows Starlette's untyped attribute
                guard.admit(request, scope)
                return await answer(request)

            return admitted

    return GuardedRoute


def _token(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _from_this_machine(request: Request) -> bool:
    if any(name in request.headers for name in PASSED_ON):
        return False
    return _is_loopback(_address(request))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host(request: Request) -> str:
    """Name or address that was asked, without its port; empty when it is neither."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return (match[1] or match[2]).lower() if match else ""


def _unknown_host(request: Request) -> HostRefusedError:
    return HostRefusedError(
        f"without a key the service does not go by the name {_host(request)[:60] or 'that was sent'}",
        where="host",
        cure=f"ask 127.0.0.1 or localhost, name the host in CRYPTOAI_HOSTS, or {MAKE_A_KEY}",
    )


def _stranger(token: str) -> KeyNeededError:
    problem = "the key is unknown or revoked" if token else "no key was sent"
    return KeyNeededError(problem, where="authorization", cure=MAKE_A_KEY)


def _owner(key: ApiKey | None) -> str:
    return "the key opens" if key else "without a key there is"
