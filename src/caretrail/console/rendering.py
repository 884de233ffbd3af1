"""A page as HTML or as its JSON twin, from the same data, with headers that browsers obey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from caretrail.access.pages import HEADERS
from caretrail.console import words
from caretrail.console.period import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from caretrail.api.http import Response as ApiResponse

ROOT: Final = "/console"
_FOLDER: Final = Path(__file__).parent
# Scripts and styles are files of ours alone.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
_PIECE_BYTES: Final = 256 * 1024
_STATIC: Final = {
    "style.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_FILES: Final = {name: (_FOLDER / "static" / name).read_bytes() for name in _STATIC}


class Page(NamedTuple):
    """What a page shows. `data` is all that its template is given, and its JSON twin."""

    template: str
    title: str
    data: dict[str, Any]
    status: int = 200


class Frame(NamedTuple):
    """What is around every page: who is signed in, where he may go, and how the log stands.

    `navigation` has a path, a title and whether it is this page. `form_to` is an origin that a
    form may lead to in the end, beside this server.
    """

    person: str = ""
    roles: str = ""
    csrf: str = ""
    insecure: bool = False
    navigation: tuple[tuple[str, str, bool], ...] = ()
    badge: dict[str, Any] | None = None
    twin: str = ""
    form_to: str = ""


def address(path: str, /, **parameters: Any) -> str:
    """Return an address of the console; parameters without a value are left out."""
    pairs = [(name, str(value)) for name, value in parameters.items() if value not in ("", None)]
    return f"{ROOT}/{quote(path)}{'?' + urlencode(pairs) if pairs else ''}"


def _grouped(number: Any) -> str:
    """Return a number with its thousands apart; what is none is not known."""
    return f"{number:,}" if isinstance(number, int) else "not known"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(root=ROOT, address=address, words=words)
    made.filters["grouped"] = _grouped
    made.filters["local"] = local
    return made


_ENVIRONMENT: Final = _environment()


def html(page: Page, frame: Frame) -> Response:
    """Return a page as HTML."""
    text = _ENVIRONMENT.get_template(f"{page.template}.html").render(
        title=page.title, frame=frame, **page.data
    )
    policy = f"{_POLICY} {frame.form_to}" if frame.form_to else _POLICY
    return HTMLResponse(text, page.status, {**HEADERS, "content-security-policy": policy})


def twin(page: Page) -> Response:
    """Return the JSON twin of a page."""
    return JSONResponse({"title": page.title, **page.data}, page.status, dict(HEADERS))


def message(heading: str, text: str, *, status: int = 200) -> Page:
    """Return a page that says one thing."""
    return Page("message", heading, {"text": text}, status)


def file(found: ApiResponse, headers: Mapping[str, str]) -> Response:
    """Return an open file piece by piece; it is closed in the end."""
    opened = found.file
    if opened is None:
        return Response(found.body, 200, dict(headers), media_type=found.media.decode())

    def pieces() -> Iterator[bytes]:
        with opened:
            while piece := opened.read(_PIECE_BYTES):
                yield piece

    return StreamingResponse(pieces(), 200, dict(headers), media_type=found.media.decode())


def static(name: str) -> Response | None:
    """Return a file of ours, None where there is no such one."""
    if name not in _FILES:
        return None
    headers = {**HEADERS, "cache-control": "no-cache"}
    return Response(_FILES[name], headers=headers, media_type=_STATIC[name])
