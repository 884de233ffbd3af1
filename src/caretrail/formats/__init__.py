"""An AuditEvent in the words of others: ECS, OCSF and CEF. Pure functions of one event."""
