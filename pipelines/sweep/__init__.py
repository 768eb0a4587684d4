"""`python train.py sweep`."""
