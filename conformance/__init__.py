"""The same bodies on asyncio and on us; other people's suites. See README.md."""
