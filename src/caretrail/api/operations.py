"""The operations beyond search and create, and their OperationDefinitions (FHIR R4, operations)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

CANONICAL: Final = "urn:caretrail:OperationDefinition:"


class Parameter(NamedTuple):
    """One parameter of an operation; `max` is a number or `*`."""

    name: str
    use: str
    min: int
    max: str
    type: str | None
    documentation: str
    parts: tuple[Parameter, ...] = ()


class Operation(NamedTuple):
    """One operation on AuditEvent: on the type, or with `on_instance` on one event.

    With `on_system` it can be called at the base as well.
    """

    code: str
    description: str
    parameters: tuple[Parameter, ...]
    on_instance: bool = False
    on_system: bool = False

    @property
    def id(self) -> str:
        """Return the logical id of the definition."""
        return f"AuditEvent-{self.code}"

    @property
    def url(self) -> str:
        """Return the canonical URL of the definition."""
        return CANONICAL + self.id

    def definition(self) -> dict[str, Any]:
        """Return the OperationDefinition."""
        return {
            "resourceType": "OperationDefinition",
            "id": self.id,
            "url": self.url,
            "name": self.code.capitalize(),
            "status": "active",
            "kind": "operation",
            "description": self.description,
            "affectsState": False,
            "code": self.code,
            "resource": ["AuditEvent"],
            "system": self.on_system,
            "type": not self.on_instance,
            "instance": self.on_instance,
            "parameter": [_parameter(row) for row in self.parameters],
        }


def _parameter(row: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": row.name,
        "use": row.use,
        "min": row.min,
        "max": row.max,
        "documentation": row.documentation,
    }
    if row.type is not None:
        found["type"] = row.type
    if row.parts:
        found["part"] = [_parameter(part) for part in row.parts]
    return found


_COUNT: Final = Parameter("count", "out", 1, "1", "integer", "How many events")

# A row here is the whole of an operation's definition; its route is a row of the router.
OPERATIONS: Final = (
    Operation(
        "original",
        "The bytes of the event exactly as they were received, in the media type that they came in",
        (Parameter("return", "out", 1, "1", "Binary", "The received bytes"),),
        on_instance=True,
    ),
    Operation(
        "proof",
        "The proof that the event stands in the log's tree, as a C2SP tlog-proof file; as Parameters"
        " where FHIR is asked for",
        (
            Parameter("origin", "out", 1, "1", "string", "The log's name in its checkpoints"),
            Parameter("index", "out", 1, "1", "string", "The index of the entry in the log"),
            Parameter("entry", "out", 1, "1", "base64Binary", "The entry, which is hashed"),
            Parameter("salt", "out", 0, "1", "base64Binary", "The salt of its commitment"),
            Parameter("proof", "out", 0, "1", "string", "The proof file"),
        ),
        on_instance=True,
    ),
    Operation(
        "gaps",
        "Numbers that sources gave their events and that the log never got",
        (
            Parameter(
                "gap",
                "out",
                0,
                "*",
                None,
                "Numbers that are missing in a row",
                (
                    Parameter("source", "out", 1, "1", "string", "The sender's name"),
                    Parameter("organisation", "out", 0, "1", "string", "Its organisation"),
                    Parameter("first", "out", 1, "1", "string", "The first missing number"),
                    Parameter("last", "out", 1, "1", "string", "The last missing number"),
                    Parameter("missing", "out", 1, "1", "integer", "How many are missing"),
                    Parameter("since", "out", 1, "1", "instant", "When the one before came"),
                    Parameter("until", "out", 1, "1", "instant", "When the one after came"),
                ),
            ),
        ),
    ),
    Operation(
        "quarantine",
        "What was refused out of Bundles and files, with the reasons",
        (
            Parameter("_after", "in", 0, "1", "integer", "Go on after this number"),
            Parameter("_count", "in", 0, "1", "integer", "How many, at most 200"),
            Parameter(
                "refused",
                "out",
                0,
                "*",
                None,
                "One refused entry",
                (
                    Parameter("number", "out", 1, "1", "string", "Its number in quarantine"),
                    Parameter("source", "out", 1, "1", "string", "Who sent it"),
                    Parameter("received", "out", 1, "1", "instant", "When it came"),
                    Parameter("content", "out", 1, "1", "base64Binary", "Its bytes"),
                    Parameter("reasons", "out", 0, "1", "OperationOutcome", "Why it was refused"),
                ),
            ),
            Parameter("next", "out", 0, "1", "string", "How to ask for more"),
        ),
    ),
    Operation(
        "export",
        "Bulk Data export of AuditEvents, and evidence bundles: asynchronous, so `Prefer:"
        " respond-async` is needed, and the answer is the address of a job. Without parameters every"
        " event is exported",
        (
            Parameter("_type", "in", 0, "1", "code", "AuditEvent, which is all there is"),
            Parameter("_since", "in", 0, "1", "instant", "Only events received after it"),
            Parameter(
                "_typeFilter",
                "in",
                0,
                "*",
                "string",
                "A search, AuditEvent?date=ge2026: of several, an event fits one",
            ),
            Parameter(
                "_outputFormat",
                "in",
                0,
                "1",
                "string",
                "application/fhir+ndjson, or application/vnd.caretrail.evidence+zip",
            ),
            Parameter(
                "_subject",
                "in",
                0,
                "*",
                "string",
                "Evidence that is complete about a Type/id or system|value, as patient and agent",
            ),
            Parameter("_start", "in", 0, "1", "integer", "The first entry, without a search"),
            Parameter("_end", "in", 0, "1", "integer", "The entry after the last"),
        ),
        on_system=True,
    ),
    Operation(
        "stats",
        "How many events fit a search, by values of search parameters and by time; every search"
        " parameter of AuditEvent can be given beside these",
        (
            Parameter("_by", "in", 0, "*", "string", "Codes of search parameters, comma separated"),
            Parameter("_interval", "in", 0, "1", "code", "hour, day, month or year"),
            Parameter("_newest", "in", 0, "1", "integer", "Facets of so many newest events only"),
            Parameter("total", "out", 0, "1", "integer", "How many events fit"),
            Parameter(
                "estimated",
                "out",
                1,
                "1",
                "boolean",
                "Whether the facets are those of the newest events only",
            ),
            Parameter("interval", "out", 0, "1", "code", "The interval that was asked for"),
            Parameter(
                "bucket",
                "out",
                0,
                "*",
                None,
                "One stretch of time, by `recorded` in UTC",
                (Parameter("start", "out", 1, "1", "instant", "Its first instant"), _COUNT),
            ),
            Parameter(
                "facet",
                "out",
                0,
                "*",
                None,
                "The values of one search parameter",
                (
                    Parameter("parameter", "out", 1, "1", "code", "The search parameter's code"),
                    Parameter(
                        "value",
                        "out",
                        0,
                        "*",
                        None,
                        "One of its values",
                        (
                            Parameter("value", "out", 1, "1", "string", "As a search takes it"),
                            Parameter("display", "out", 0, "1", "string", "As people know it"),
                            _COUNT,
                        ),
                    ),
                ),
            ),
        ),
    ),
)

BY_ID: Final = {row.id: row for row in OPERATIONS}
