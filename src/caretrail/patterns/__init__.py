"""Kernel: what was observed becomes AuditEvents, one function a BALP or DICOM pattern."""
