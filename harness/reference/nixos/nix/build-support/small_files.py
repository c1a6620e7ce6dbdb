"""Builder: thousands of small files in a tree, as interpreted languages ship them."""

import json
import os

PER_DIRECTORY = 250

with open(os.environ["NIX_ATTRS_JSON_FILE"], encoding="utf-8") as attrs_file:
    attrs = json.load(attrs_file)
root = f"{attrs['outputs']['out']}/share/small-files"
for number in range(attrs["count"]):
    directory = f"{root}/{number // PER_DIRECTORY:04}"
    if number % PER_DIRECTORY == 0:
        os.makedirs(directory)
    text = f"# file {number} of {attrs['seed']}\n" * (1 + number % 7)
    with open(f"{directory}/{number:06}.txt", "w", encoding="ascii") as file:
        file.write(text)
