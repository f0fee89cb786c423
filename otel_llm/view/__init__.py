"""The embedded local backend: receives OTLP, stores it in a file, and serves a page that shows it."""
