"""Tables in pages of documentation, between marks that name the script that writes them.

SPDX-License-Identifier: Apache-2.0
"""


def line(values):
    return "| " + " | ".join(values) + " |"


def write_table(path, script, lines):
    """the lines take the place of what stands between the script's marks; without marks they come at the end"""
    begin, end = f"<!-- {script}: begin -->", f"<!-- {script}: end -->"
    text = path.read_text() if path.exists() else ""
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    head, tail = text.split(begin)[0], text.split(end)[1]
    path.write_text("\n".join([head + begin, *lines, end]) + tail)
