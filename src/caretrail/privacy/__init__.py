"""What the law asks of a log about people: erasure, retention and holds."""
