"""What is wrong with a response, and with the results that a request brings.

Pure: facts from `otel_llm.protocol` in, anomalies out. A new anomaly is one judge in `judges` and its entry in
`explanations`.
"""
