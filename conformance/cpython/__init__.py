"""CPython's own asyncio tests, run with our loop where the standard one stands.

Every interpreter carries its asyncio tests with it, as `test.test_asyncio`. `python -m conformance.cpython` runs those of
them that concern a loop, on each Python of the machine, each test class in its own process:

- `bootstrap.py` runs inside the tested interpreter, puts the loop in place and runs one class;
- `processes.py` starts it, limits it and reads what it says;
- `suite.py` gives each test its verdict;
- `gauge.py` checks the runner itself against `samples.py`, each time, before it judges.

What serves every suite (interpreters, exclusions, verdicts, the report) is one folder up.
"""

from pathlib import Path

EXCLUSIONS = Path(__file__).with_name("exclusions.toml")
"""The tests that are not asked of the loop."""
