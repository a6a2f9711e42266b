"""A message as Slack shows it, from the blocks that were posted."""

import re
from base64 import b64encode
from html import escape
from typing import Any

_STYLE = """
body { margin: 0; background: #fff; }
article { width: 646px; padding: 16px 22px; color: #1d1c1d; }
article { font: 15px/1.46 "DejaVu Sans", "Noto Color Emoji"; }
.app + span { background: #e8e8e8; font-size: 10px; padding: 1px 4px; color: #616061; }
h1 { font-size: 18px; margin: 6px 0; } p { margin: 8px 0; } a { color: #1264a3; text-decoration: none; }
dl { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; margin: 8px 0; } small { color: #616061; }
figure { margin: 10px 0 0; padding-left: 14px; border-left: 3px solid #ddd; }
figure img { width: 380px; border: 1px solid #ddd; border-radius: 8px; display: block; }
"""


def slack_page(message: dict[str, Any], picture: bytes) -> str:
    """Page of one message, with the picture that lies in its thread."""
    drawn = "".join(_block(block) for block in message["blocks"])
    thread = f'<img src="data:image/png;base64,{b64encode(picture).decode()}">'
    return (
        f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>"
        f'<article><b class="app">CryptoAI</b> <span>APP</span>{drawn}'
        f"<figure><small>in the thread</small>{thread}</figure></article>"
    )


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h1>{escape(block['text']['text'])}</h1>"
        case "section" if "fields" in block:
            return f"<dl>{''.join(f'<div>{_text(one)}</div>' for one in block['fields'])}</dl>"
        case "section":
            return f"<p>{_text(block['text'])}</p>"
        case "context":
            return f"<small>{' '.join(_text(one) for one in block['elements'])}</small>"
        case other:
            raise ValueError(f"no message of ours has a block of the type {other}")


def _text(element: dict[str, Any]) -> str:
    """Slack's markup, which comes with its signs escaped."""
    linked = re.sub(r"<([^|>]+)\|([^>]+)>", r'<a href="\1">\2</a>', element["text"])
    return re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", linked).replace("\n", "<br>")
