"""The wrapper of a posted Bundle: its entries, each with the exact bytes of its resource.

The resources are not looked into here: each is judged on its own, and kept as it was cut out.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from caretrail.api.xml_entries import read_xml
from caretrail.errors import InvalidError, Issue, TooLargeError
from caretrail.fhir import strict_json

TYPES: Final = ("batch", "transaction", "collection")


class Entry(NamedTuple):
    """One entry. Without a `request` it is a create of an AuditEvent, as audit feeds send it."""

    resource: bytes | None = None
    full_url: str | None = None
    method: str = "POST"
    url: str = "AuditEvent"
    if_none_exist: str | None = None


class Entries(NamedTuple):
    """A Bundle's type and its entries."""

    type: str
    entries: list[Entry]


# `Raw | None` would take only null.
_Unread: TypeAlias = Raw | UnsetType


class _Struct(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """What the wrapper may hold; the members that nobody reads here are `Raw`."""

    id: _Unread = UNSET
    extension: _Unread = UNSET


class _Request(_Struct, frozen=True, kw_only=True):
    method: str
    url: str
    ifNoneExist: str | None = None  # noqa: N815
    ifNoneMatch: _Unread = UNSET  # noqa: N815
    ifModifiedSince: _Unread = UNSET  # noqa: N815
    ifMatch: _Unread = UNSET  # noqa: N815
    modifierExtension: _Unread = UNSET  # noqa: N815


class _Entry(_Struct, frozen=True):
    fullUrl: str | None = None  # noqa: N815
    resource: _Unread = UNSET
    request: _Request | None = None
    link: _Unread = UNSET
    search: _Unread = UNSET
    response: _Unread = UNSET
    modifierExtension: _Unread = UNSET  # noqa: N815


class _Bundle(_Struct, frozen=True, kw_only=True):
    resourceType: Literal["Bundle"]  # noqa: N815
    type: str
    entry: list[_Entry] = []
    meta: _Unread = UNSET
    implicitRules: _Unread = UNSET  # noqa: N815
    language: _Unread = UNSET
    identifier: _Unread = UNSET
    timestamp: _Unread = UNSET
    total: _Unread = UNSET
    link: _Unread = UNSET
    signature: _Unread = UNSET


_decoder: Final = msgspec.json.Decoder(_Bundle)
_encoder: Final = msgspec.json.Encoder()


def read_entries(body: bytes, *, xml: bool, entries_max: int) -> Entries:
    """Return the entries of a Bundle to be processed, or raise InvalidError or TooLargeError."""
    if xml:
        kind, found = read_xml(body)
        bundle = Entries(kind, [Entry(*row) for row in found])
    else:
        bundle = _read_json(body)
    if bundle.type not in TYPES:
        what = f"a Bundle to be recorded has a type of {', '.join(TYPES)}"
        raise InvalidError((Issue("value", what, "Bundle.type"),))
    if len(bundle.entries) > entries_max:
        raise TooLargeError(f"a Bundle may have {entries_max} entries")
    _check_full_urls(bundle.entries)
    return bundle


def _read_json(body: bytes) -> Entries:
    body = body.removeprefix(strict_json.BOM)
    try:
        bundle = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidError((_misfit(error),)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidError("the Bundle is not JSON in UTF-8") from error
    except RecursionError as error:
        raise TooLargeError("the Bundle nests too deep") from error
    # A member that is not known here, or that a later one of the same name replaced, is missing
    # when the Bundle is written again, and two quotation marks with it.
    if _encoder.encode(bundle).count(b'"') != body.count(b'"'):
        _check_members(body)
    return Entries(bundle.type, [_entry(row) for row in bundle.entry])


def _entry(row: _Entry) -> Entry:
    resource = bytes(row.resource) if isinstance(row.resource, Raw) else None
    if row.request is None:
        return Entry(resource, row.fullUrl)
    request = row.request
    return Entry(resource, row.fullUrl, request.method, request.url, request.ifNoneExist)


def _misfit(error: msgspec.ValidationError) -> Issue:
    """Return where the wrapper breaks FHIR; the text before the path could quote a value."""
    _, at, path = str(error).rpartition(" - at `$")
    where = "Bundle" + path.rstrip("`") if at else "Bundle"
    return Issue("structure", "an element is missing, or not of its type", where)


def _check_members(body: bytes) -> None:
    """Raise InvalidError for members that are there twice or that a Bundle does not have."""
    tree = strict_json.parse(body).tree
    issues = _odd_members(tree, _Bundle, "Bundle")
    for index, entry in enumerate(tree.get("entry") or ()):
        path = f"Bundle.entry[{index}]"
        issues += _odd_members(entry, _Entry, path)
        issues += _odd_members(entry.get("request"), _Request, f"{path}.request")
    if issues:
        raise InvalidError(issues)


def _odd_members(tree: Any, known: type[_Struct], path: str) -> list[Issue]:
    if not isinstance(tree, strict_json.Object):
        return []
    issues = []
    if tree.repeated:
        issues.append(Issue("structure", "a member of this element is there twice", path))
    if any(name.removeprefix("_") not in known.__struct_fields__ for name in tree):
        issues.append(Issue("structure", "a member of this element is not known to FHIR", path))
    return issues


def _check_full_urls(entries: list[Entry]) -> None:
    """Raise InvalidError when two entries have the same fullUrl (bdl-7)."""
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.full_url is None:
            continue
        if entry.full_url in seen:
            path = f"Bundle.entry[{index}].fullUrl"
            raise InvalidError((Issue("invariant", "bdl-7: a fullUrl is unique", path),))
        seen.add(entry.full_url)
