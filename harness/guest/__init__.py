"""What runs inside a guest: transports that reach it, views that ask it questions."""
