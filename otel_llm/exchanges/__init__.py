"""Requests and their responses read from files: a saved stream, a cassette, an archive, a trace, a recording."""
