"""Numbers from predictions, each computed in one place."""
