"""`python -m cdc_sync`."""

import sys

from cdc_sync.cli import main

sys.exit(main())
