"""The real programs of the pipeline, on this machine: collector, Jaeger, Prometheus, Kafka, Cassandra.

``python -m stack`` (``make stack``) starts the collector, Jaeger and Prometheus. The tests of the pipeline use the same
functions to start these and more. The installed package contains none of this.
"""
