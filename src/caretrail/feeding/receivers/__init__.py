"""What receives a feed: one module a kind."""
