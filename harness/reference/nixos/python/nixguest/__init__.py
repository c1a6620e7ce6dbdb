"""The reference guest's programs: builders, activation, switching, boot loader, lab.

They run on the store's Python, often under emulation, where importing a module costs a
hundred times what it costs natively. Hence no pathlib, dataclasses, subprocess or json
where something smaller does.
"""
