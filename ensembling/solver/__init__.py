"""Multinomial logistic regression for many penalties at once."""
