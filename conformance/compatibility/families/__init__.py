"""The probes, one file for a family of methods. What they share is in `conformance/compatibility/support.py`."""
