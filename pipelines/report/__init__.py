"""`python train.py report`."""
