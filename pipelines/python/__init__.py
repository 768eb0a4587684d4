"""The project from Python: see francesinha.py."""
