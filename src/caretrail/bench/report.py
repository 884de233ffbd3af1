"""Figures, their targets, and how both are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caretrail.bench.machine import Machine


class Target(msgspec.Struct, frozen=True):
    """What a figure has to be; `text` says it as it was asked for."""

    text: str
    bound: float
    kind: Literal["least", "most"]

    def met_by(self, value: float) -> bool:
        """Tell whether a figure is good enough."""
        return value >= self.bound if self.kind == "least" else value <= self.bound


# What was asked for, on two cores with the load beside (issue 2, Speed).
RATIO: Final = Target("at least 0.15 of the floor", 0.15, "least")
BUNDLED: Final = Target("at least 10,000 events/s", 10_000, "least")
PAGE: Final = Target("p99 under 10 ms", 10.0, "most")
BYTES: Final = Target("at most 700 bytes", 700, "most")
INTEGRITY: Final = Target("under 10 %", 10.0, "most")
FLAT: Final = Target("flat: at most 1.25", 1.25, "most")
# Issue 3, Speed.
PROOFS: Final = Target("at least 20,000 a second", 20_000, "least")
OFFLINE: Final = Target("at least 50,000 events/s", 50_000, "least")
SIGNED: Final = Target("p99 at most 1 s", 1_000, "most")
COSIGNED: Final = Target("p99 at most 3 s", 3_000, "most")
NONE: Final = Target("none", 0, "most")


class Figure(msgspec.Struct, frozen=True):
    """One figure."""

    name: str
    value: float
    unit: str
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return `met`, `MISSED`, or nothing where there is no target."""
        if self.target is None:
            return ""
        return "met" if self.target.met_by(self.value) else "MISSED"


class Report:
    """The figures of one run, in the order in which they were found."""

    def __init__(self, machine: Machine, *, events: int, say: Callable[[str], None]) -> None:
        self._machine, self._events, self._say = machine, events, say
        self.figures: list[Figure] = []

    def add(
        self, name: str, value: float, unit: str, target: Target | None = None, note: str = ""
    ) -> None:
        """Note a figure, and say it at once: a long run may be broken off."""
        figure = Figure(name, value, unit, target, note)
        self.figures.append(figure)
        self._say(f"  {name}: {_number(value)} {unit}".rstrip())

    def table(self) -> list[str]:
        """Return all figures beside their targets."""
        wide = max(len(figure.name) for figure in self.figures)
        lines = [*self._machine.lines(), f"a log of {self._events} events", ""]
        for one in self.figures:
            wanted = f"{one.target.text}: {one.verdict}" if one.target is not None else ""
            figure = f"{_number(one.value):>9} {one.unit}"
            rest = "; ".join(filter(None, (wanted, one.note)))
            lines.append(f"{one.name:<{wide}} {figure:<22} {rest}".rstrip())
        return lines

    def write(self, output: Path) -> None:
        """Write the figures as JSON."""
        rows = [
            {**msgspec.to_builtins(one), "met": one.verdict == "met" if one.target else None}
            for one in self.figures
        ]
        document = {
            "machine": msgspec.to_builtins(self._machine),
            "events": self._events,
            "figures": rows,
        }
        text = msgspec.json.format(msgspec.json.encode(document), indent=2)
        output.write_bytes(text + b"\n")


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
