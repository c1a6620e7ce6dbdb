"""The suites' judgements, on observations that need no VM."""
