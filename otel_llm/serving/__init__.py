"""Servers that commands run on this machine: listening sockets, and ASGI applications behind them."""
