"""Is a server's tool calling correct? A battery of requests, whose responses are diagnosed."""
