"""Servers that commands run on this machine: sockets that listen, and ASGI applications behind them."""
