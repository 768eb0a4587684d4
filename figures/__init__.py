"""Pictures: pure functions from arrays to matplotlib figures, each imported from its own module."""
