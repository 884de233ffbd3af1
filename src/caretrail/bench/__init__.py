"""Measurements: ingest, search and verification beside the floor of the same machine."""

from caretrail.bench.figures import run

__all__ = ["run"]
