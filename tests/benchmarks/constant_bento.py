"""The least that BentoML does for a request: a service of a constant that logs and counts nothing."""

import bentoml


@bentoml.service(
    name="constant", workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}}
)
class Constant:
    """Answers the same to all."""

    @bentoml.api(route="/constant")
    def constant(self) -> dict[str, float]:
        """Answer."""
        return {"value": 1.0}
