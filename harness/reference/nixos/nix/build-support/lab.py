"""Builder: the lab server as a program of its own.

The real lab is one compiled binary, so `/proc/PID/exe` names lab's own store path and
changes with every new build. A script would show its interpreter there. So the Python
binary is copied to bin/lab and finds its library by a pyvenv.cfg (Python's `site`
documentation); it runs the module `nixguest.lab`.
"""

import json
import os

with open(os.environ["NIX_ATTRS_JSON_FILE"], encoding="utf-8") as attrs_file:
    attrs = json.load(attrs_file)
out = attrs["outputs"]["out"]
os.makedirs(f"{out}/bin")
with (
    open(f"{attrs['python3']}/bin/python3.13", "rb") as binary,
    open(f"{out}/bin/lab", "wb") as copy,
):
    while chunk := binary.read(1 << 20):
        copy.write(chunk)
os.chmod(f"{out}/bin/lab", 0o755)
with open(f"{out}/pyvenv.cfg", "w", encoding="utf-8") as config:
    config.write(
        f"home = {attrs['python3']}/bin\ninclude-system-site-packages = false\n"
    )
with open(f"{out}/main.py", "w", encoding="utf-8") as main:
    main.write(
        f"import sys\nsys.path.insert(0, {attrs['nixguest']!r})\n"
        f"from nixguest import lab\nlab.main({attrs['revision']})\n"
    )
