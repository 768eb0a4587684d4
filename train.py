"""Train image classifiers and stack them: `python train.py --help`."""

import sys

from pipelines.main import main

if __name__ == "__main__":
    sys.exit(main())
