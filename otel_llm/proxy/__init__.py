"""A reverse proxy in front of model servers: hands on every byte, observes requests to models, rewrites where asked."""
