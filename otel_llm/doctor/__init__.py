"""What `otel-llm doctor` asks, of whom, and what it makes of the answers.

Each module looks at one part of the way that telemetry takes and gives findings; `checkup` has their order. Nothing
here is imported by the instrumentation itself.
"""
