"""What stands between an application and its SDK: methods that are wrapped, and proxies around what they return.

`patch` wraps the methods when their module is imported, `method` is what a wrapped one does, and `stream` has the
proxies around a stream. The other modules watch responses that a caller takes raw, as bytes, or rewritten.
"""
