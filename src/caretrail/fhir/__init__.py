"""Kernel: bytes and meaning. FHIR R4 AuditEvent, time, OperationOutcome, Bundle, XML, R5, BALP."""
