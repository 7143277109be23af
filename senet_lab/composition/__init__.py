"""Composition of typed points from a command line and the YAML of `conf/`: `command.compose_command`.

Nothing here builds an object or writes a file.
"""
