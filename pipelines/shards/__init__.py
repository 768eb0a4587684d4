"""`python train.py shards`."""
