"""Breaks the package's functions one by one, each in a scenario that calls it."""
