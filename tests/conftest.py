"""Fixtures for all tests. What telemetry was seen: `seen.py`."""

pytest_plugins = ["pytester", "seen", "servers"]
