"""Feeds: events that go on to other systems, in order, at least once, from where each one is."""
