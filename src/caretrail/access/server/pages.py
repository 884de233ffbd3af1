"""The pages that people see: made on the server, without a script, by Jinja2 with escaping on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from caretrail.access.pages import HEADERS
from caretrail.access.server import granting
from caretrail.access.server.desk import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.errors import Error

_FOLDER: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_FOLDER / "style.css").read_text(encoding="utf-8")
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action"
)
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What each template may be given; what is not, is "".
_NOTHING: Final[Mapping[str, str]] = dict.fromkeys(
    ("problem", "client", "patient", "again", "typed_name", "typed_display"), ""
)
_CONTEXTS: Final = {
    "patient": "of this patient",
    "user": "that you may see",
}
_LETTERS: Final = {
    "c": "create",
    "r": "read",
    "u": "change",
    "d": "delete",
    "s": "search for",
}
_PLAIN: Final = {
    granting.OPENID: "know who you are",
    "profile": "know your name",
    "fhirUser": "know which record is yours",
    granting.OFFLINE: "go on when you have signed out",
    granting.ONLINE: "go on until you sign out",
}


def page(template: str, /, *, status: int = 200, form_to: str = "", **values: Any) -> HTMLResponse:
    """Return a page; `form_to` is where a form may lead in the end, beside this server."""
    text = _ENVIRONMENT.get_template(f"{template}.html").render(
        {**_NOTHING, "root": ROOT, **values}
    )
    target = _source_of(form_to)
    policy = f"{_POLICY} 'self'{f' {target}' if target else ''}"
    return HTMLResponse(text, status, {**HEADERS, "content-security-policy": policy})


def message(heading: str, text: str, *, status: int = 200, again: bool = False) -> HTMLResponse:
    """Return a page that says one thing."""
    return page("message", status=status, heading=heading, text=text, again=again)


def sentence(error: Error) -> str:
    """Return what an error says, as a sentence."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def style() -> Response:
    """Return the style sheet of all pages."""
    headers = {**HEADERS, "cache-control": "public, max-age=3600"}
    return Response(_STYLE, headers=headers, media_type="text/css")


def wishes(scope: str) -> list[str]:
    """Return what scopes mean, in words."""
    found = [_PLAIN[word] for word in scope.split() if word in _PLAIN]
    for word in scope.split():
        one = granting.parse(word)
        if one is not None:
            verbs = ", ".join(_LETTERS[letter] for letter in one.letters)
            kind = "all resources" if one.kind == "*" else f"{one.kind} resources"
            narrowed = f", only {one.query}" if one.query else ""
            found.append(f"{verbs} {kind} {_CONTEXTS[one.context]}{narrowed}")
    return found


def _source_of(address: str) -> str:
    """Return the source of a policy for an address: its origin, or an app's own scheme."""
    parts = urlsplit(address)
    if not parts.scheme:
        return ""
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"
