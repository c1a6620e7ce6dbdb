"""What all tests of the instrument have in common."""

from __future__ import annotations

import signal

# A run that a script starts in the background is deaf to SIGINT, and so would all its
# children be (signal(7): an ignored signal stays ignored across execve); tests press
# Ctrl-C in theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
