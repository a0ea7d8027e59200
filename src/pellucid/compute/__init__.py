"""Seeds, progress, memory and training: work that knows no model under study."""
