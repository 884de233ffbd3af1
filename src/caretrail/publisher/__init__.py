"""Shell: what signs the log's checkpoints, and carries them out of this machine's reach."""
