"""Alerts: people are told once that something is wrong, and once that it is over."""
