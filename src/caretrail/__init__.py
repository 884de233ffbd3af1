"""CareTrail: the record of who did what to whose health record, and the proof that it is whole."""

__version__ = "0.1.0"
