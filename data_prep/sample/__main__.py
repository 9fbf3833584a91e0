"""The command ``python -m data_prep.sample``."""

import sys

from data_prep.sample.command import main

sys.exit(main())
