"""DICOM PS3.15 A.5 and RFC 3881 audit messages, and the syslog frames that carry them."""
