"""Adapters that observe: they make an exchange of what they see, and hand its events to a sink."""
