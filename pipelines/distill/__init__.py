"""`python train.py distill`: a student is taught by a stack, and compared with it."""
