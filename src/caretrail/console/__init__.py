"""The web console: what privacy and security officers, auditors and administrators see."""
