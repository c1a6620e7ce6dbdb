"""Access to a guest: transports that connect to it, views that ask it."""
