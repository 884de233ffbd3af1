"""Edge: a synthetic hospital whose audit trail shows what CareTrail does; no person in it exists."""
