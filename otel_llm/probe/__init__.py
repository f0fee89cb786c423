"""Is a server's tool calling right? A battery of requests, each judged by the diagnosis."""
