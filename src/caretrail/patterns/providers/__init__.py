"""What identity providers tell of sign-ins and changes of rights, as AuditEvents; one a module."""
