"""What the APIs' requests, chunks and events say.

Pure: no I/O, no OpenTelemetry, no SDK. `recording` is the state machine of one response; `request` and `conversation`
read what was sent; the other modules serve them.
"""
