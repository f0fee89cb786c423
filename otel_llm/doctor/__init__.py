"""`otel-llm doctor`: where does an application's telemetry get stuck?

Each module checks one part of the path and returns findings; `checkup` runs the checks in order. The instrumentation
imports nothing from here.
"""
