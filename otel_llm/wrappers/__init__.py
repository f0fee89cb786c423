"""The wrappers around an SDK's methods, and the proxies around what these return.

`patch` wraps the methods when their module is imported, `method` is the wrapper, and `stream` has the trackers around
streams. The other modules handle responses that a caller takes raw, as bytes, or rewritten. `sdk_internals` has all
that is known of private parts of the SDKs.
"""
