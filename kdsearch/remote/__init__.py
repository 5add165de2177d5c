"""Output folders behind a URI: what is written in a folder of this machine is copied there, and back for a resume.

Imports neither torch nor ray nor optuna.
"""
