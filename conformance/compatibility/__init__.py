"""Which loop can do what: the table in `docs/compatibility.md`, found out by trying.

    python -m conformance.compatibility                  try every loop that is installed, and write the table
    python -m conformance.compatibility --show           only print it
    python -m conformance.compatibility --loops tepal asyncio --match create_server

Each method of `asyncio.AbstractEventLoop`, and each argument of it, has a probe in `families/`: a small, real use that checks what
came of it and gives back what could be seen. The same probes run on every loop; what asyncio answers is what is right.
"""
