"""Links to the pages of alerts, signed, so that who got the message may answer it without a key."""

import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_bundle.alerts import Alert
from edge_bundle.whole_file import create_file

KEY_FILE = "alert-links.key"
VALID_FOR = timedelta(days=30)
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class AlertLinks:
    """Signs addresses, and tells which were signed.

    Parameters
    ----------
    secret_file
        Made when first needed, readable by its owner alone. Removed, it ends every link that was sent.
    """

    secret_file: Path

    @classmethod
    def beside(cls, outbox: Path) -> "AlertLinks":
        """Those of the programs that share an outbox."""
        return cls(outbox.with_name(KEY_FILE))

    def page(self, service: str, alert: Alert, now: datetime) -> str:
        """Address of an alert's page at a service, which opens it for thirty days."""
        return f"{service.rstrip('/')}/alerts/{alert.id}?token={self.token(alert.id, now + VALID_FOR)}"

    def token(self, alert_id: str, until: datetime) -> str:
        """What opens one alert until a time."""
        seconds = int(until.timestamp())
        return f"{seconds}.{self._signature(alert_id, seconds)}"

    def opens(self, token: str, alert_id: str, now: datetime) -> bool:
        """Whether a token opens this alert now."""
        seconds, _, signature = token.partition(".")
        if not (seconds.isascii() and seconds.isdecimal() and len(seconds) <= 11 and signature.isascii()):
            return False
        if datetime.fromtimestamp(int(seconds), UTC) < now:
            return False
        return hmac.compare_digest(signature, self._signature(alert_id, int(seconds)))

    def _signature(self, alert_id: str, seconds: int) -> str:
        return hmac.new(self._secret(), f"{alert_id}.{seconds}".encode(), hashlib.sha256).hexdigest()[:32]

    def _secret(self) -> bytes:
        """Content of the file; of programs that make it at the same time one is first, for all."""
        with suppress(FileNotFoundError):
            return self.secret_file.read_bytes()
        create_file(self.secret_file, secrets.token_bytes(SECRET_BYTES), mode=0o600)
        return self.secret_file.read_bytes()
