"""What decides the criteria of the onboarded host, by subject.

Pure functions of what the tests observed: no machine, no site, no waiting.
"""
