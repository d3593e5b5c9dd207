"""One body per behaviour, run on asyncio's own loop and on tepal's."""
