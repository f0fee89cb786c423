"""Requests and responses in files: saved streams, cassettes, archives, traces; and recordings, which it also writes."""
