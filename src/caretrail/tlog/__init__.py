"""Kernel: the Merkle log. Nothing here knows of FHIR."""
