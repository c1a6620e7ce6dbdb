"""What decides the criteria of the module around a VM, by subject.

Pure functions of what the tests observed: no machine, no site, no waiting.
"""
