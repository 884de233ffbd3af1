"""Train the zstandard dictionary that bodies are kept with, on synthetic events only.

    .venv/bin/python scripts/train_dictionary.py [--survey] [--write]

A dictionary is never trained anew once a release ships it: kept bodies need the one that they were
packed with. A better one is `2.zdict`, and becomes `bodies.DICTIONARY`.

Half of the samples are the synthetic hospital's, so that the members of a BALP event are at hand
in the order that our own patterns write. The other half stands for other people's senders: other
hosts and ids, displays, other orders of members, tokens of SAML, DICOM messages, R5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zstandard
from elsewhere import Elsewhere

from caretrail.demo import hospital

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET: Final = Path(__file__).parents[1] / "src/caretrail/storage/dictionaries/1.zdict"
VECTORS: Final = Path(__file__).parents[2] / "shared/vectors"
LEVEL: Final = 3
# Measured: 110 KB gain 2 % on all kinds of events, and cost cache; segments as
# long as most of an event gain 10 % over segments of 1 KB.
SIZE: Final = 65_536
SEGMENT_BYTES: Final = 2_000
SIZES: Final = (32_768, 65_536, 81_920, 98_304, 112_640)
END_MILLISECONDS: Final = 1_790_000_000_000
SAMPLES: Final = 3_000


def training() -> list[bytes]:
    """Return what the dictionary learns from."""
    ours: list[bytes] = []
    for seed in (101, 102, 103):
        ours += hospital.events(seed=seed, count=SAMPLES // 3, end_milliseconds=END_MILLISECONDS)
    return [*Elsewhere(101).events(SAMPLES), *ours]


def held_out() -> dict[str, list[bytes]]:
    """Return events that the dictionary has not seen: other seeds, another year, IHE's own."""
    year = 365 * 24 * 3_600_000
    kinds = {
        "hospital": list(
            hospital.events(seed=7, count=4_000, end_milliseconds=END_MILLISECONDS + year)
        ),
        "bench": list(
            hospital.bench_events(seed=8, count=4_000, end_milliseconds=END_MILLISECONDS - year)
        ),
        "elsewhere": list(Elsewhere(9).events(2_000)),
    }
    for folder in ("balp", "auditevent"):
        files = sorted((VECTORS / folder).glob("*.json"))
        kinds[f"{folder} vectors"] = [compact(file.read_bytes()) for file in files]
    return {name: bodies for name, bodies in kinds.items() if bodies}


def compact(body: bytes) -> bytes:
    """Return a file's JSON without white space and narrative, as an application would send it."""
    event = json.loads(body)
    if isinstance(event, dict):
        event.pop("text", None)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def trained(samples: list[bytes], size: int) -> bytes:
    """Return a dictionary of about `size` bytes; the same samples give the same one."""
    # The parameters are fixed: zstandard's own choice of them would be made by threads.
    dictionary = zstandard.train_dictionary(
        size, samples, k=SEGMENT_BYTES, d=8, level=LEVEL, dict_id=1
    )
    return dictionary.as_bytes()


def packed(bodies: Iterable[bytes], dictionary: bytes) -> list[int]:
    """Return the sizes of `bodies`, each compressed alone."""
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, dict_data=zstandard.ZstdCompressionDict(dictionary), write_dict_id=False
    )
    return [len(compressor.compress(body)) for body in bodies]


def report(dictionary: bytes) -> None:
    """Print how small each kind of event becomes with this dictionary."""
    print(f"dictionary of {len(dictionary):,} bytes")
    for kind, bodies in held_out().items():
        sizes, raw = packed(bodies, dictionary), sum(map(len, bodies))
        mean = statistics.fmean(sizes)
        print(
            f"  {kind:20} {raw / len(bodies):7.0f} -> {mean:5.0f} bytes, ratio {raw / sum(sizes):.1f}"
        )


def main() -> int:
    """Train and report; write the dictionary only when asked to."""
    arguments = argparse.ArgumentParser(description="Train the dictionary of kept bodies.")
    arguments.add_argument("--survey", action="store_true", help="report several sizes")
    arguments.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    given = arguments.parse_args()
    samples = training()
    for size in SIZES if given.survey else (SIZE,):
        report(trained(samples, size))
    if given.write:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(trained(samples, SIZE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
