"""uvloop's `__init__` imports a module of this name for its side effects on Cython; here it has none."""
