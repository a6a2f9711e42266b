"""The only door to BentoML: a service that is the application of `cryptoai_serving.app`, and nothing else."""

import gc

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from cryptoai_serving.app import create_app
from cryptoai_serving.settings import ServingSettings

SETTINGS = ServingSettings.from_environment()
# BentoML mounts an application when the class is defined; it opens nothing before its lifespan starts.
APPLICATION = create_app(SETTINGS)


class ApplicationFirst:
    """Sends every request to the application.

    BentoML's own routes come before those of a mounted application: its /readyz gives no reason, its 404 has
    another shape, and its front page refers to a tracker.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        await (APPLICATION if scope["type"] == "http" else self._bentoml)(scope, receive, send)


@bentoml.service(
    name="cryptoai",
    workers=SETTINGS.workers,
    traffic={"timeout": 10, "max_concurrency": 256},
    http={"host": "127.0.0.1", "port": 3600},
    # Its labels hold raw paths, a series for each that anybody asks for; the application has its own metrics.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(APPLICATION, path="/")
class CryptoAI:
    """The forecast service."""

    def __init__(self) -> None:
        # What is loaded by now stays for good; a full collection over it stalls requests by 0.1 s and more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 1000)


CryptoAI.add_asgi_middleware(ApplicationFirst)  # type: ignore[attr-defined]  # a Service by now
