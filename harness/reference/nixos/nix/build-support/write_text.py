"""Builder: one file with a text, maybe executable, maybe inside a directory."""

import json
import os

with open(os.environ["NIX_ATTRS_JSON_FILE"], encoding="utf-8") as attrs_file:
    attrs = json.load(attrs_file)
target = attrs["outputs"]["out"]
if "destination" in attrs:
    target = f"{target}/{attrs['destination']}"
    os.makedirs(os.path.dirname(target))
with open(target, "w", encoding="utf-8") as file:
    file.write(attrs["text"])
if attrs.get("executable"):
    os.chmod(target, 0o755)
