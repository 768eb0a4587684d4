"""`python train.py predict --images`, and the predictor behind it and behind francesinha.py."""
