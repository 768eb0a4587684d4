"""What spans more than one Lightning run, and the command line."""
