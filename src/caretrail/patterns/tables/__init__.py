"""Facts of FHIR R4 that a program cannot guess; scripts/fhir_tables.py makes them."""
