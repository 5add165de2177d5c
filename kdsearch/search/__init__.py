"""Search: Ray Tune runs the trials, Optuna chooses them, a journal remembers them.

The only room that imports ray and optuna, and only inside its modules: importing the package costs nothing.
"""
