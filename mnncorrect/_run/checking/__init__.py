"""Whether inputs are fit to be corrected: ``check``.

`examine` makes the plan of the ``run`` that would come next, and says beside it what is in the
inputs (`findings`), what to choose where the call leaves it open, and the command to run next
(`proposals`).
"""
