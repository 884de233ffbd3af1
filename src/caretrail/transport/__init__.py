"""The edges that carry bytes in and out."""
