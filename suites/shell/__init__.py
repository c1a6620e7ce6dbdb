"""The module: life cycle and options of a VM shell."""
