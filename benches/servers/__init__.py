"""The servers under load, one small program each: ``python -m benches.servers.<name> <loop>`` prints its port and serves.

They are written as their users write them. None knows that it is measured, or by which loop it is run.
"""
