"""Builder: the guest's own Python package, with byte code that stays valid.

Store files have the time stamp 1: only unchecked byte code is ever used.
"""

import json
import os
import py_compile

with open(os.environ["NIX_ATTRS_JSON_FILE"], encoding="utf-8") as attrs_file:
    attrs = json.load(attrs_file)
package = f"{attrs['outputs']['out']}/nixguest"
os.makedirs(package)
for name in sorted(os.listdir(attrs["source"])):
    if not name.endswith(".py"):
        continue
    with open(f"{attrs['source']}/{name}", "rb") as source:
        content = source.read()
    target = f"{package}/{name}"
    with open(target, "wb") as copy:
        copy.write(content)
    py_compile.compile(
        target,
        dfile=target,
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
