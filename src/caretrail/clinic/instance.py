"""Interactions with one resource: create, read, vread, update, patch, delete (FHIR R4, http)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any, Final

import jsonpatch
import jsonpointer
import msgspec

from caretrail.api import negotiation
from caretrail.api.http import Request, Response, decode_pairs
from caretrail.clinic import indexing, resource
from caretrail.clinic import query as clinic_query
from caretrail.clinic.contract import Version
from caretrail.clinic.work import Work, answer, etag, find, headers, kind_of, latest
from caretrail.errors import (
    GoneError,
    InvalidError,
    Issue,
    MediaTypeError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
    UnprocessableError,
    VersionError,
)
from caretrail.fhir import strict_json
from caretrail.limits import RESOURCE_BYTES_MAX
from caretrail.patterns import subjects

ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
JSON_PATCH: Final = "application/json-patch+json"


def read(work: Work, request: Request) -> Response:
    """FHIR read: the current version, or 304 when the client has it."""
    kind, name = kind_of(request.captures[0]), request.captures[1]
    return _shown(work, request, latest(work, kind, name))


def vread(work: Work, request: Request) -> Response:
    """FHIR vread: one version; 410 for one that says that the resource was deleted."""
    kind, name, number = kind_of(request.captures[0]), *request.captures[1:]
    is_number = number.isascii() and number.isdigit() and len(number) < 19
    found = work.session.version(kind, name, int(number)) if is_number else None
    if found is None:
        raise NotFoundError("there is no such version of a resource")
    if found.is_deleted:
        raise GoneError("in this version the resource is deleted")
    return _shown(work, request, found)


def _shown(work: Work, request: Request, version: Version) -> Response:
    if _unchanged(request, version):
        return Response(304, headers=headers(version))
    pairs = decode_pairs(request.query) if request.query else []
    wanted = [pair for pair in pairs if pair[0] in ("_summary", "_elements")]
    query = clinic_query.parse(wanted, [version.kind], strict=False, place=work.place(request))
    body = resource.part(version.body, version.kind, query.summary, query.elements)
    return Response(200, body, headers(version))


def _unchanged(request: Request, version: Version) -> bool:
    """Tell whether the client holds this version already (RFC 9110, 13.1)."""
    tags = request.header(b"if-none-match")
    if tags:
        known = (etag(version), etag(version)[2:], "*")
        return any(tag.strip() in known for tag in tags.split(","))
    since = request.header(b"if-modified-since")
    try:
        return bool(since) and (version.updated // 1000 <= parsedate_to_datetime(since).timestamp())
    except (ValueError, TypeError, OverflowError):
        return False  # A date that is none is ignored.


def create(work: Work, request: Request) -> Response:
    """FHIR create; with If-None-Exist only where nothing fits that condition."""
    kind = kind_of(request.captures[0])
    tree = _content(work, request, kind)
    condition = request.header(b"if-none-exist")
    if condition:
        found = find(work, request, kind, condition)
        if found is not None:
            return answer(request, found, 200)
    return _store(work, request, tree, kind, work.new_id(), "POST")


def update(work: Work, request: Request) -> Response:
    """FHIR update: a new version, or the first one under the client's id."""
    kind, name = kind_of(request.captures[0]), request.captures[1]
    if not ID.fullmatch(name):
        raise InvalidError((Issue("value", "an id has 1 to 64 letters, digits, - and .", "id"),))
    tree = _content(work, request, kind)
    if tree.get("id") != name:
        raise InvalidError((Issue("value", "the id is the one in the address", f"{kind}.id"),))
    return _store(work, request, tree, kind, name, "PUT")


def update_conditional(work: Work, request: Request) -> Response:
    """FHIR conditional update: of the one that fits, or a create where none does."""
    kind = kind_of(request.captures[0])
    tree = _content(work, request, kind)
    found, name = find(work, request, kind, request.query), tree.get("id")
    if found is not None:
        if name not in (None, found.id):
            raise InvalidError((Issue("value", "another resource fits", f"{kind}.id"),))
        return _store(work, request, tree, kind, found.id, "PUT")
    if name is None:
        return _store(work, request, tree, kind, work.new_id(), "POST")
    return update(work, request._replace(captures=(kind, str(name))))


def patch(work: Work, request: Request) -> Response:
    """FHIR patch by JSON Patch (RFC 6902)."""
    kind, name = kind_of(request.captures[0]), request.captures[1]
    return _patched(work, request, latest(work, kind, name))


def patch_conditional(work: Work, request: Request) -> Response:
    """FHIR conditional patch, of the one that fits."""
    kind = kind_of(request.captures[0])
    found = find(work, request, kind, request.query)
    if found is None:
        raise NotFoundError("no resource fits the condition")
    return _patched(work, request, found)


def _patched(work: Work, request: Request, current: Version) -> Response:
    _check_match(request, current)
    if request.header(b"content-type").partition(";")[0].strip().lower() != JSON_PATCH:
        raise MediaTypeError(f"a patch is {JSON_PATCH}")
    document = strict_json.parse(request.body)
    try:
        tree = _applied(document.tree, strict_json.read(current.body))
    except (jsonpatch.InvalidJsonPatch, TypeError, AttributeError) as error:
        raise InvalidError("the content is no JSON Patch") from error
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        RecursionError,
    ) as error:
        raise UnprocessableError(
            "the patch does not fit the resource, or its test fails"
        ) from error
    kind, name = current.kind, current.id
    if not isinstance(tree, dict) or (tree.get("resourceType"), tree.get("id")) != (kind, name):
        raise UnprocessableError("a patch leaves the type and the id as they are")
    return _store(work, request, tree, kind, name, "PATCH")


def _applied(patch: Any, tree: Any) -> Any:
    """Return what a patch makes of a tree.

    Each copy may double what is there: raises TooLargeError when all of them together have more
    than a resource may.
    """
    copied = 0
    for operation in jsonpatch.JsonPatch(patch).patch:
        if operation["op"] == "copy":
            value = jsonpointer.resolve_pointer(tree, operation["from"])
            copied += len(msgspec.json.encode(value))
            if copied > RESOURCE_BYTES_MAX:
                raise TooLargeError(f"a patch may copy {RESOURCE_BYTES_MAX} bytes")
        tree = jsonpatch.JsonPatch([operation]).apply(tree, in_place=True)
    return tree


def delete(work: Work, request: Request) -> Response:
    """FHIR delete: from now on 410; what is gone or never was is no error."""
    kind, name = kind_of(request.captures[0]), request.captures[1]
    return _deleted(work, request, work.session.current(kind, name))


def delete_conditional(work: Work, request: Request) -> Response:
    """FHIR conditional delete, of the one that fits."""
    kind = kind_of(request.captures[0])
    return _deleted(work, request, find(work, request, kind, request.query))


def _deleted(work: Work, request: Request, current: Version | None) -> Response:
    _check_match(request, current)
    if current is None or current.is_deleted:
        return Response(204)
    if work.about is not None:
        _note(work.about, request, strict_json.read(current.body))
    gone = current._replace(number=current.number + 1, updated=work.now, method="DELETE", body=b"")
    work.session.put(gone, ())
    return Response(204, headers=headers(gone)[:1])


def _content(work: Work, request: Request, kind: str) -> dict[str, Any]:
    if work.content is not None:
        return resource.of_kind(work.content, kind)
    if negotiation.content(request).xml:
        raise MediaTypeError("the content must be application/fhir+json")
    return resource.read(request.body, kind)


def _check_match(request: Request, current: Version | None) -> None:
    """Raise when the client takes another version for the current one (FHIR R4, http, 3.1.0.5)."""
    wanted = request.header(b"if-match").strip()
    there = current is not None and not current.is_deleted
    tag = etag(current) if current is not None and there else ""
    if wanted and (not there or wanted not in (tag, tag[2:], "*")):
        raise VersionError("If-Match names a version that is not the current one")
    if there and request.header(b"if-none-match").strip() == "*":
        raise PreconditionError("there is a resource at this address already")


def _note(about: list[str], request: Request, tree: dict[str, Any]) -> None:
    """Note the patients of a version: what is sent and answered need not show them."""
    patients = subjects.of_resource(tree, request.base)
    about.extend(one["reference"] for one in patients if "reference" in one)


def _store(
    work: Work, request: Request, tree: dict[str, Any], kind: str, name: str, method: str
) -> Response:
    """Keep the tree as the next version, with its index."""
    current = work.session.current(kind, name)
    if method != "POST":
        _check_match(request, current)
    number = current.number + 1 if current is not None else 1
    body = resource.stamped(tree, name=name, number=number, updated=work.now)
    plain = resource.checked(body)
    rows = indexing.rows(plain, base=request.base)
    version = Version(kind, name, number, work.now, method, body)
    work.session.put(version, rows)
    is_new = current is None or current.is_deleted
    if current is not None and not current.is_deleted and work.about is not None:
        # What is noted is all that counts, so the patients of the new version are as well.
        _note(work.about, request, strict_json.read(current.body))
        _note(work.about, request, plain)
    return answer(request, version, 201 if is_new else 200)
