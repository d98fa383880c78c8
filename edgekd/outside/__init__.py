"""Figures from outside: other runtimes, other people's benchmark tools, and real devices, beside edgekd's own."""
