"""Programs that run inside the sandbox.

These are programs, started by path with the standard library alone (`python -I -S`),
because importing the harness would cost each of them half a second; the DNS watcher
adds dnspython. Nothing of the harness imports them and they import nothing of it.
"""
