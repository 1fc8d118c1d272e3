"""One file with all of the database in it: archive.py is its form, saving.py writes it, restoring.py reads it."""
