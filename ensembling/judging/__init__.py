"""Which model of a stack to use, and what is known of it."""
