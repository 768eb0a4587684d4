"""What a finished model is written as for use elsewhere."""
