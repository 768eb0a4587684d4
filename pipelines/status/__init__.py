"""`python train.py status`: how runs, cells and jobs stand."""
