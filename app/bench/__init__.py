"""`batchwright bench`: this engine beside others, in one run on one core, answers checked.

run.py is the whole run, contest.py its rounds; ours.py is our own engine, others.py starts those of peers/.
figures.py, table.py, plot.py and record.py are pure: what the laps mean and how they are shown.
providers.py is another bench: how long the configured providers take.
"""
