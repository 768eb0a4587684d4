"""`python train.py submit`: a command as a job of a SLURM cluster."""
