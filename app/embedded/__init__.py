"""Run real servers and the whole stack on one machine, without root and without containers.

stack.py composes (`Stack`); joining.py uses a running one or starts one; clients.py is for everybody who did
not start it (`attach`, `down`, `processes`); detach.py starts one in the background, which daemon.py then owns.
Everything here raises `StackError`, one line with the way out.
"""
