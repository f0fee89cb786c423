"""What keeps the package invisible to the application.

Faults are swallowed, forked processes get new locks, and proxies copy and pickle like the objects they wrap.
"""
