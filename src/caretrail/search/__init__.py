"""Kernel: the table of search parameters, the parsing of a query, and what a query means."""
