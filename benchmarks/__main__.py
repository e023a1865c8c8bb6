"""All benchmarks, one table: every figure is a ratio to a baseline measured in the same run.

Run: `make bench`. Exit code 1 when a target is missed.
"""

import sys

from benchmarks import calls, ingress, meaning, steps
from benchmarks.table import all_met, show

if __name__ == "__main__":
    rows = [*ingress.run(), *steps.run(), *meaning.run(), *calls.run()]
    show("Benchmarks", rows)
    sys.exit(not all_met(rows))
