"""What the demo and the tests run: a llama.cpp server over a tiny model, a scripted server, a small agent.

Nothing here is imported by the instrumentation itself.
"""
