"""The backend on PostgreSQL: one database, one connection that writes, connections that read."""
