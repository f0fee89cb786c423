"""The embedded local backend: receives OTLP, keeps it in a file, and serves a page that shows it."""
