"""What the demo and the tests run: a llama.cpp server with a tiny model, a scripted server, a small agent.

The instrumentation imports nothing from here.
"""
