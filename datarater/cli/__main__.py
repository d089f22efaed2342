"""`python -m datarater.cli`."""

import sys

from datarater.cli import main

sys.exit(main())
