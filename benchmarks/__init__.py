"""Measures what otel-llm costs, compared with its peers: `python -m benchmarks`."""
