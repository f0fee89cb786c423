"""What keeps the application from noticing: faults are swallowed here, forked children get locks of their own, and
proxies copy and pickle as what they stand for.
"""
