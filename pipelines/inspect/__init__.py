"""`python train.py inspect`."""
