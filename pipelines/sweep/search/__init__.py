"""The search of a study: trials whose options Optuna chooses, instead of a matrix of cells."""
