"""`python train.py tune`."""
