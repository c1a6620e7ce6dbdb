"""The final address stays reachable, and its name stays right, across the swap."""
