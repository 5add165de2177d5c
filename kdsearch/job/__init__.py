"""The main job from end to end: data, teacher, bank, search, confirmation, test, outputs.

It stands above ``search`` and ``results`` and below the commands, which parse, call it, and print nothing of their own.
"""
