"""What the APIs' requests, chunks and events say.

Pure: no I/O, no OpenTelemetry, no SDK. `recording` is the state machine of one response; `request` and `conversation`
read what was sent; `body` reads the bytes of a response. The other modules serve these.
"""
