"""The page of the OpenAPI document: every address with its examples, and nothing from elsewhere."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

# It runs no script and loads nothing: what stands in the document is text.
REFERENCE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_STYLE = """
 body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
 h2 { margin-top: 2.5rem; text-transform: capitalize } h3 { font-family: ui-monospace, monospace }
 section { border-top: 1px solid #8886; margin-top: 1.5rem }
 table { border-collapse: collapse; width: 100% }
 th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884 }
 pre { background: #8881; padding: .7rem; overflow-x: auto } code { font-size: 13px }
 .method { text-transform: uppercase; color: #06c } .quiet { opacity: .7 }
"""
_CODE = re.compile("`([^`]+)`")
Json = Mapping[str, Any]


def reference_page(document: Json, *, server: str) -> str:
    """HTML of an OpenAPI 3.1 document.

    Parameters
    ----------
    server
        Address that stands in the commands, such as ``http://127.0.0.1:3600``.
    """
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = dict.fromkeys(tag for *_, operation in operations for tag in operation.get("tags", ()))
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        *_paragraphs(info["description"]),
        '<p>The document itself: <a href="/api/openapi.json">/api/openapi.json</a></p>',
    ]
    for tag in tags:
        parts.append(f"<h2>{escape(tag)}</h2>")
        for path, method, operation in operations:
            if tag in operation.get("tags", ()):
                parts += _operation(path, method, operation, schemas, server)
    parts.append("<h2>messages</h2>")
    for name, schema in schemas.items():
        parts += _schema(name, schema)
    title = f"<title>{escape(info['title'])}: reference</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}'
    return (
        f'<!doctype html>\n<html lang="en">\n{head}\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _operation(path: str, method: str, operation: Json, schemas: Json, server: str) -> Iterator[str]:
    key = "" if "security" in operation else ' <span class="quiet">without a key</span>'
    yield f'<section id="{escape(operation["operationId"])}">'
    yield f'<h3><span class="method">{method}</span> {escape(path)}</h3>'
    yield from _paragraphs(operation.get("description", operation.get("summary", "")))
    yield f"<pre><code>{escape(_command(path, method, operation, schemas, server))}</code></pre>{key}"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>what</th></tr>"
        for one in parameters:
            needed = "" if one.get("required") else ' <span class="quiet">optional</span>'
            what = f"{escape(one.get('description', ''))} {_kind(one['schema'])}"
            yield f"<tr><td><code>{escape(one['name'])}</code>{needed}</td>"
            yield f"<td>{one['in']}</td><td>{what}</td></tr>"
        yield "</table>"
    yield "<table><tr><th>status</th><th>what</th></tr>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}"
        for kind, content in answer.get("content", {}).items():
            yield f" <span class='quiet'>{escape(kind)}</span> {_kind(content.get('schema', {}))}"
            if status.startswith("2") and (example := _example(content, schemas)) is not None:
                yield f"<details><summary>example</summary><pre><code>{_json(example)}</code></pre></details>"
        yield "</td></tr>"
    yield "</table></section>"


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
    yield from _paragraphs(schema.get("description", ""))
    if properties := schema.get("properties"):
        yield "<table><tr><th>field</th><th>kind</th><th>what</th></tr>"
        for field, told in properties.items():
            what = escape(told.get("description", ""))
            yield f"<tr><td><code>{escape(field)}</code></td><td>{_kind(told)}</td><td>{what}</td></tr>"
        yield "</table>"
    if "example" in schema:
        yield f"<pre><code>{_json(schema['example'])}</code></pre>"
    yield "</section>"


def _command(path: str, method: str, operation: Json, schemas: Json, server: str) -> str:
    """What a person types to try it."""
    words, asked = ["curl"], []
    if method != "get":
        words += ["-X", method.upper()]
    if "security" in operation:
        words += ["-H", "authorization: Bearer KEY"]
    for one in operation.get("parameters", ()):
        example = next(iter(one["schema"].get("examples", one.get("examples", ()))), one.get("example"))
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(example))
        elif one.get("required"):
            words += ["-H", f"{one['name']}: {example}"] if one["in"] == "header" else []
            asked += [f"{one['name']}={example}"] if one["in"] == "query" else []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        example = _example(content, schemas)
        body = example if isinstance(example, str) else json.dumps(example)
        words += ["-H", f"content-type: {kind}", "--data-binary", body]
        break
    return shlex.join([*words, f"{server}{path}" + ("?" + "&".join(asked) if asked else "")])


def _example(content: Json, schemas: Json) -> Any:
    own = content.get("schema", {})
    return content.get("example", own.get("example", schemas.get(_reference(own), {}).get("example")))


def _reference(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(schema: Json) -> str:
    """What a value may be, with links to the messages."""
    if name := _reference(schema):
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = escape(str(schema.get("type", "")))
    limits = [schema[name] for name in ("pattern", "const") if name in schema]
    limits += [" | ".join(map(str, schema["enum"]))] if "enum" in schema else []
    return " ".join([kind, *(f"<code>{escape(str(limit))}</code>" for limit in limits)])


def _paragraphs(text: str) -> Iterator[str]:
    told = (_CODE.sub(r"<code>\1</code>", escape(part)) for part in text.split("\n\n") if part)
    return (f"<p>{part}</p>" for part in told)


def _json(value: Any) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, indent=1))
