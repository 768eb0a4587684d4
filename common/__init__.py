"""What every package may use: one topic a file, importing nothing of the project."""
