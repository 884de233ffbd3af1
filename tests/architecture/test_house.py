"""The house: which room may know of which, and how large a thing may be (STYLE, "Shape").

Everything is read from the source text, so that an import under TYPE_CHECKING or inside a
function counts like any other: it is knowledge all the same.
"""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = Path(__file__).parents[2] / "src"
MODULE_LINES_MAX: Final = 500
# A verifier that somebody else reads is one file, so that he knows when he has read it all. Of these
# lines 50 are for who signed a time stamp.
ONE_FILE_LINES_MAX: Final = {"caretrail.evidence.verify": 1_000}
FUNCTION_LINES_MAX: Final = 70
NAMES_FORBIDDEN: Final = frozenset(
    ["utils", "util", "common", "base", "misc", "manager", "helpers"]
)

# The kernel: pure, synchronous, no I/O, no clock, no logging.
_FOUNDATION: Final = ("errors", "limits")
_KERNEL: Final[dict[str, tuple[str, ...]]] = {
    "errors": (),
    "limits": (),
    "fhir": _FOUNDATION,
    "patterns": ("fhir", *_FOUNDATION),
    "formats": ("fhir", *_FOUNDATION),
    "search": ("fhir", *_FOUNDATION),
    "tlog": _FOUNDATION,
    "dicom": ("fhir", *_FOUNDATION),
    "sequencer": ("search", "tlog", "fhir", *_FOUNDATION),
    # What came in any form, of FHIR or of DICOM, as the event that it is.
    "originals": ("search", "dicom", "fhir", *_FOUNDATION),
}
_ALL_KERNEL: Final = tuple(_KERNEL)
_SHELL: Final = ("repository", "access", "metrics", "publisher", "turns")

# A room may import the rooms that are named here, and all of those stand above it: imports run one
# way. Rooms that DESIGN plans and that are not built yet are bound already.
ROOMS: Final[dict[str, tuple[str, ...]]] = {
    **_KERNEL,
    "tenants": _FOUNDATION,
    "settings": ("tenants", *_FOUNDATION),
    "config": ("settings", *_FOUNDATION),
    "logs": (),
    # What checks the log's evidence knows nothing of how it is made.
    "evidence": (),
    "tls": _FOUNDATION,
    "listening": ("tls", *_FOUNDATION),
    "clock": ("fhir", *_FOUNDATION),
    "durable_file": (),
    "turns": (),
    "key_file": ("durable_file", *_FOUNDATION),
    # One backend a module, behind one protocol.
    "storage": ("durable_file", *_ALL_KERNEL),
    # The shell: the only place with queues, tasks and the clock.
    "retrieving": ("storage", *_ALL_KERNEL),
    "committer": ("retrieving", "storage", *_ALL_KERNEL),
    "statistics": ("storage", *_ALL_KERNEL),
    "repository": ("committer", "retrieving", "statistics", "storage", "turns", *_ALL_KERNEL),
    "publisher": ("repository", "storage", "key_file", "durable_file", *_ALL_KERNEL),
    # By everybody: it opens nothing for writing.
    "verification": ("publisher", "storage", "durable_file", *_ALL_KERNEL),
    # Getting events out: what a server, a command and its clients share.
    "exporting": ("publisher", "repository", "storage", "evidence", "durable_file", "clock", *_ALL_KERNEL),
    "fetching": _FOUNDATION,
    "os_account": (),
    # What a log says of itself when it is opened.
    "starting": ("os_account", "repository", "config", "settings", "clock", *_ALL_KERNEL),
    # A log with its keys, and what it says of itself.
    "opening": ("starting", "publisher", "repository", "committer", "storage", "config", "settings", "clock", *_ALL_KERNEL),
    # A log into another store.
    "moving": ("storage", *_ALL_KERNEL),
    "options": ("config", "settings",),
    "loading": ("repository", *_ALL_KERNEL),
    "access": ("durable_file", "tenants", *_ALL_KERNEL),
    # Applications embed this without the server.
    "capture": ("durable_file", "clock", "patterns", "fhir", *_FOUNDATION),
    # Events that go on to others; the protocol of a FHIR feed is the source's.
    "outgoing": _FOUNDATION,
    "feeding": ("originals", "capture", "access", "outgoing", "repository", "storage", "durable_file", "clock", *_ALL_KERNEL),
    "metrics": ("committer",),
    # One interaction a module; the adapters that observe. The store's contract is only named.
    "api": (*_SHELL, "feeding", "exporting", "storage", "clock", *_ALL_KERNEL),
    "clinic": (*_SHELL, "api", *_ALL_KERNEL),
    "privacy": (*_SHELL, "api", "storage", *_ALL_KERNEL),
    "approvals": ("os_account", "repository", "durable_file", *_ALL_KERNEL),
    "custody": ("os_account", "approvals", "starting", "opening", "privacy", "storage", "config", "settings", "patterns", *_FOUNDATION),
    "synchronisation": (),
    "alerting": ("feeding", "outgoing", "repository", "storage", "durable_file", "clock", *_ALL_KERNEL),
    "onward": ("alerting", "access", "clock", "feeding", "outgoing", "synchronisation", "metrics", "repository", "config", "settings", *_ALL_KERNEL),
    "demo": ("patterns", "fhir", *_FOUNDATION),
    # A witness runs on somebody else's machine, and knows nothing of FHIR or of repositories.
    "witness": ("tlog", "key_file", "durable_file", "listening", "logs", "config", "settings", *_FOUNDATION),
    # The edges: sockets, terminals, HTML, wiring.
    "transport": (*_SHELL, "api", "tenants", "clinic", *_ALL_KERNEL),
    "console": ("exporting", *_SHELL, "api", "privacy", *_ALL_KERNEL),
    "gateway": ("capture", "config", "settings", "listening", "logs", "clock", "patterns", "fhir", *_FOUNDATION),
    # Only this names the clinic, whose libraries need not be there.
    "beside": ("console", "clinic", "transport", "capture", "config", "settings", *_SHELL, "api", *_ALL_KERNEL),
    "app": ("beside", "onward", "committer", "opening", "exporting", "verification", *_SHELL, "api", "clinic", "privacy", "capture", "transport", "console", "storage", "config", "tenants", "settings", "logs", "listening", "tls", *_ALL_KERNEL),
    "bench": ("app", "beside", "opening", "capture", "api", "access", "demo", "evidence", "listening", "clock", "publisher", "repository", "storage", "config", "settings", *_ALL_KERNEL),
    "commands": ("os_account", "moving", "access", "opening", "exporting", "fetching", "verification", "evidence", "app", "loading", "repository", "storage", "demo", "capture", "clock", "config", "settings", *_ALL_KERNEL),
    "accounts": ("os_account", "options", "commands", "config", "settings", *_FOUNDATION),
    "keeping": ("options", "custody", "privacy", "commands", "storage", "config", "settings", *_FOUNDATION),
    "cli": ("accounts", "keeping", "options", "custody", "privacy", "app", "gateway", "bench", "commands", "witness", "config", "settings", *_FOUNDATION),
}  # fmt: skip

# What a room needs beyond the standard library. A room without a row needs nothing.
_ANYWHERE: Final = "msgspec"
LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "fhir": ("defusedxml",),
    "dicom": ("defusedxml",),
    "tlog": ("cryptography",),
    "storage": ("zstandard", "asyncpg", "cryptography", "httpx", "kazoo"),
    "evidence": ("cryptography",),
    "listening": ("uvicorn",),
    "tls": ("uvicorn",),
    "key_file": ("cryptography",),
    "publisher": ("cryptography", "httpx", "rfc3161_client"),
    "fetching": ("httpx",),
    "outgoing": ("httpx",),
    "feeding": ("originals", "httpx", "nats"),
    "exporting": ("pyarrow",),
    "witness": ("uvloop", "prometheus_client"),
    "verification": ("httpx",),
    "access": (
        "cryptography",
        "authlib",
        "joserfc",
        "httpx",
        "starlette",
        "jinja2",
        "argon2",
        "pyotp",
    ),
    "metrics": ("prometheus_client",),
    "clinic": ("fhirclient", "fhirpathpy", "jsonpatch", "jsonpointer"),
    "capture": ("httpx", "httptools"),
    "console": ("starlette", "jinja2"),
    "transport": ("starlette",),
    "gateway": ("uvloop", "httpx"),
    "app": ("uvloop",),
    "bench": ("httpx", "uvloop"),
    "commands": ("httpx", "cryptography"),
    "keeping": ("typer", "rich"),
    "cli": ("typer", "rich"),
    "options": ("typer",),
    "accounts": ("typer",),
}
# The one module of the kernel that signs.
_SIGNING: Final = "caretrail.tlog.keys"
# In the kernel time, randomness, threads and disks are passed in, never reached for.
_IMPURE: Final = frozenset(
    ["asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random",
     "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading",
     "time"]
)  # fmt: skip
# Modules that may name one concrete backend; all others know only `storage.contract`.
WIRING: Final = frozenset(["app", "opening", "commands", "bench", "verification"])
_CONTRACT: Final = (
    "caretrail.storage.contract",
    "caretrail.storage.bodies",
    "caretrail.storage.data_keys",
)


def room_of(name: str) -> str:
    """Return the part of a module's name after `caretrail`; "" for the package itself."""
    return name.partition(".")[2].partition(".")[0]


class Import(NamedTuple):
    """One name that a module imports, and where."""

    name: str
    line: int


class Module(NamedTuple):
    """A module of the package: its dotted name, its text, and what it imports."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        """The part of the name after `caretrail`; "" for the package itself."""
        return room_of(self.name)

    def at(self, line: int) -> str:
        """Return a place that an editor can open."""
        return f"{self.path.relative_to(SOURCE.parent)}:{line}"


def _modules() -> Iterator[Module]:
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(name, path, text, tree, tuple(_imports(tree)))


def _imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(one.name, node.lineno) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are forbidden"
            yield from (Import(f"{node.module}.{one.name}", node.lineno) for one in node.names)


MODULES: Final = tuple(_modules())
NAMES: Final = frozenset(module.name for module in MODULES)


def _target(name: str) -> str:
    """Return the module that an imported name is, or is in."""
    while name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def _own(module: Module) -> Iterator[tuple[str, int]]:
    """Yield the modules of ours that a module imports."""
    for name, line in module.imports:
        if name.startswith("caretrail."):
            yield _target(name), line


def _functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_the_table_of_rooms_is_in_order() -> None:
    """A room imports only what stands above it, so the table itself can hold no cycle."""
    seen: set[str] = set()
    for room, allowed in ROOMS.items():
        assert seen.issuperset(allowed), f"{room} may import what stands below it"
        seen.add(room)


def test_every_module_has_a_room() -> None:
    rooms = {module.room for module in MODULES} - {""}
    assert rooms <= ROOMS.keys(), f"no rule says what these may import: {rooms - ROOMS.keys()}"


def test_imports_run_one_way() -> None:
    wrong = []
    for module in MODULES:
        for target, line in _own(module):
            room = room_of(target)
            if room not in ("", module.room, *ROOMS.get(module.room, ())):
                wrong.append(f"{module.at(line)}: {module.room} may not import {target}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    # A package's `__init__` passes names on from its modules; they do not import it back.
    graph = {
        module.name: {target for target, _ in _own(module) if target != module.name}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for module in MODULES:
        allowed = (_ANYWHERE, "caretrail", *LIBRARIES.get(module.room, ()))
        for name, line in module.imports:
            library = name.partition(".")[0]
            if library not in sys.stdlib_module_names and library not in allowed:
                wrong.append(f"{module.at(line)}: {module.room} may not import {library}")
    assert not wrong, "\n".join(wrong)


def test_one_module_of_the_kernel_knows_cryptography() -> None:
    knowing = [
        module.name
        for module in MODULES
        if module.room in _KERNEL
        and any(name.partition(".")[0] == "cryptography" for name, _ in module.imports)
    ]
    assert knowing == [_SIGNING]


def test_the_kernel_reaches_for_nothing() -> None:
    wrong = [
        f"{module.at(line)}: the kernel may not import {name}"
        for module in MODULES
        if module.room in _KERNEL
        for name, line in module.imports
        if name.partition(".")[0] in _IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_the_kernel_is_synchronous() -> None:
    wrong = [
        f"{module.at(node.lineno)}: {node.name} is asynchronous"
        for module in MODULES
        if module.room in _KERNEL
        for node in _functions(module)
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_wiring_names_a_concrete_store() -> None:
    wrong = [
        f"{module.at(line)}: names {target}"
        for module in MODULES
        if module.room not in WIRING | {"storage"}
        for target, line in _own(module)
        if target.startswith("caretrail.storage.") and target not in _CONTRACT
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_wiring_names_the_clinic() -> None:
    """What it needs is an extra, and a posted event does without it."""
    wrong = [
        f"{module.at(line)}: names {target}"
        for module in MODULES
        if module.room not in ("beside", "clinic")
        for target, line in _own(module)
        if room_of(target) == "clinic"
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_application_names_a_transport() -> None:
    wrong = [
        f"{module.at(line)}: names {target}"
        for module in MODULES
        if module.room not in ("app", "beside", "transport")
        for target, line in _own(module)
        if target.startswith("caretrail.transport")
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_and_functions_stay_small() -> None:
    wrong = []
    for module in MODULES:
        most = ONE_FILE_LINES_MAX.get(module.name, MODULE_LINES_MAX)
        if (lines := module.text.count("\n")) > most:
            wrong.append(f"{module.at(1)}: {lines} lines")
        for node in _functions(module):
            assert node.end_lineno is not None
            if (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX:
                wrong.append(f"{module.at(node.lineno)}: {node.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_a_module_is_named_after_what_it_is() -> None:
    wrong = [name for name in NAMES if NAMES_FORBIDDEN & set(name.split("."))]
    assert not wrong


def test_every_public_name_has_a_docstring() -> None:
    wrong = [
        f"{module.at(getattr(node, 'lineno', 1))}: {getattr(node, 'name', 'the module')}"
        for module in MODULES
        for node in (module.tree, *_public(module.tree))
        if not ast.get_docstring(node)
    ]
    assert not wrong, "\n".join(wrong)


def _public(
    node: ast.Module | ast.ClassDef,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the public classes and functions of a module, and the public methods of the former."""
    for one in node.body:
        if not isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        # Special methods promise what Python says; a setter belongs to its property.
        if one.name.startswith("_") or any(
            isinstance(d, ast.Attribute) for d in one.decorator_list
        ):
            continue
        yield one
        if isinstance(one, ast.ClassDef):
            yield from _public(one)


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")  # Here the words have to stand.
    wrong = [
        f"{module.at(number)}: {line.strip()}"
        for module in MODULES
        for number, line in enumerate(module.text.splitlines(), 1)
        if later.search(line)
    ]
    assert not wrong, "\n".join(wrong)
