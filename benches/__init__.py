"""Measured programs: tepal beside every rival that is installed, asyncio as the control.

``make bench`` runs all of it, ``make bench BENCH="echo/sock timers"`` a part. METHOD.md says how and with what limits.
"""
