"""The command ``python -m data_prep.sample``."""

import sys

from .command import main

sys.exit(main())
