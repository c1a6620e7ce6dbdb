"""Load the acceptance plugin; everything else lives in `harness`."""

pytest_plugins = ["harness.plugin"]
