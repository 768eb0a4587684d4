"""Callbacks that draw: each calls a function of `figures`."""
