"""Trio's semantics: each body is run by Trio and by tepal, and what Trio does is the expectation."""
