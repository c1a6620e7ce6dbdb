"""The root of the project.

`harness.plugin` looks for this file, and not for a configuration file of pytest, of
which there may be one further up.
"""

pytest_plugins = ["harness.plugin"]
