"""Names of files in the folder of a run that code below the command line needs to know."""

# what data the run was trained on, sample by sample
DATA_FILE = "data.safetensors"
