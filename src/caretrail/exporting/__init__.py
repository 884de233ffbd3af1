"""Getting events out: evidence bundles, NDJSON, static tiles, and the jobs that make them."""
