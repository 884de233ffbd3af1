"""A witness (C2SP tlog-witness): it remembers how large a log was, and cosigns only what continues it."""
