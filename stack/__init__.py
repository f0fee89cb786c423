"""What stands behind an application, as real programs on this machine: collector, Jaeger, Prometheus, Kafka, Cassandra.

``python -m stack`` (``make stack``) starts what a person wants to look at. The tests of the pipeline start the same
programs, and more of them, through the same functions. Nothing here is part of the package that users install.
"""
