"""What decides the criteria of the network: one module for each subject."""
