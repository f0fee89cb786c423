"""Finds the anomalies of a response, and of the tool results that a request sends.

Pure: facts from `otel_llm.protocol` in, anomalies out. A new anomaly is one judge in `judges` and its entry in
`explanations`.
"""
