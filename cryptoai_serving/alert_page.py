"""The page of an alert: what, why, facts, a picture, links, and the buttons by which a person answers it.

It is text and forms: no script runs, and nothing is loaded from elsewhere.
"""

import base64
from datetime import UTC, datetime
from html import escape

from cryptoai_serving.messages import DISCLAIMER
from edge_bundle.alerts import SIGNS, Alert, KeptAlert

SNOOZES = {"an hour": 1, "eight hours": 8, "a day": 24, "a week": 168}
ALERT_PAGE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)
_STYLE = """
 :root { color-scheme: light dark }
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
 table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
 th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884 }
 td { overflow-wrap: anywhere } img { max-width: 100%; background: #fff }
 form { margin: 1.5rem 0 } button, input { font: inherit; padding: .3rem .8rem; margin: .15rem }
 input { max-width: 100%; box-sizing: border-box }
 .quiet { opacity: .7 } .state { font-weight: 600 }
"""


def alert_page(kept: KeptAlert, *, token: str | None, now: datetime) -> str:
    """HTML of one alert.

    Parameters
    ----------
    token
        Of the link by which the reader came; without one there are no buttons.
    """
    alert = kept.alert
    facts = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in alert.facts
    )
    links = " · ".join(_link(label, address) for label, address in alert.links)
    return _page(
        alert.title,
        f"<h1>{SIGNS[alert.severity]} {escape(alert.title)}</h1>"
        f"<p>{escape(alert.summary)}</p>"
        f'<p><span class="state" id="state">{_state(kept, now)}</span>'
        f' <span class="quiet">{alert.severity}, raised {_shown(alert.raised_at)}</span></p>'
        f"{_picture(alert)}<table>{facts}</table><p>{links}</p>"
        f"{_buttons(kept, token)}{_history(kept)}",
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{body}\n"
        f'<p class="quiet">CryptoAI. {DISCLAIMER}</p>\n</html>\n'
    )


def _state(kept: KeptAlert, now: datetime) -> str:
    state = kept.state_at(now)
    until = f" until {_shown(kept.snoozed_until)}" if state == "snoozed" and kept.snoozed_until else ""
    # What is unwell is told above, until a part of it is well.
    partly = set() < set(kept.unwell) < set(kept.alert.about)
    unwell = f"; not well yet: {escape(', '.join(kept.unwell))}" if partly else ""
    return f"{state}{until}{unwell}"


def _picture(alert: Alert) -> str:
    if alert.picture is None:
        return ""
    data = base64.b64encode(alert.picture).decode()
    return f'<p><img alt="{escape(alert.title)}" src="data:image/png;base64,{data}"></p>'


def _link(label: str, address: str) -> str:
    # What is no address of the web, such as one that runs a script, is shown as text.
    if not address.startswith(("http://", "https://")):
        return f"{escape(label)}: <code>{escape(address)}</code>"
    return f'<a href="{escape(address)}" rel="noreferrer">{escape(label)}</a>'


def _buttons(kept: KeptAlert, token: str | None) -> str:
    if kept.state == "resolved":
        return ""
    if token is None:
        return (
            '<p class="quiet">To answer it here, come by the link of the message; '
            f"or POST /alerts/{kept.alert.id}/acknowledge with an admin's key.</p>"
        )
    snoozes = "".join(
        f'<button name="answer" value="snooze {hours}">Snooze for {label}</button>'
        for label, hours in SNOOZES.items()
    )
    return (
        f'<form method="post" action="/alerts/{kept.alert.id}/answer">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<p><label>Your name <input name="name" maxlength="80" autocomplete="name"></label> '
        '<label>Note <input name="note" maxlength="500" size="40"></label></p>'
        '<button name="answer" value="acknowledge">Acknowledge</button>'
        f'{snoozes}<button name="answer" value="resolve">Resolve</button></form>'
    )


def _history(kept: KeptAlert) -> str:
    if not kept.changes:
        return ""
    rows = "".join(
        f"<tr><td>{_shown(one.at)}</td><td>{one.state}</td><td>{escape(one.actor)}</td>"
        f"<td>{escape(one.note)}</td></tr>"
        for one in kept.changes
    )
    return f"<table><tr><th>when</th><th>state</th><th>who</th><th>note</th></tr>{rows}</table>"


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


REFUSED_LINK_PAGE = _page(
    "CryptoAI alert",
    "<h1>This link is not valid, or no longer.</h1>"
    "<p>Come by the link of a newer message, or ask with an admin's key.</p>",
)
