"""Fixtures for all tests. What telemetry was seen: `seen.py`."""

from hypothesis import settings

# How long an example takes is the machine's business.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest_plugins = ["pytester", "seen", "servers"]
