"""The backends: one module each, behind `contract`."""
