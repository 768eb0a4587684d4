"""`python train.py stack`."""
