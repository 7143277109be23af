"""From the words of a command line and the YAML of `conf/` to typed points: `command.compose_command`.

Nothing here builds an object or writes a file.
"""
