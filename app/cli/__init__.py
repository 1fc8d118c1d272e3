"""The command line: `batchwright VERB`.

    main.py       the verbs, their flags and help; nothing heavy is imported before a verb runs
    group.py      every error becomes one line and an exit code here
    run.py        FILE... to answers: preflight -> session -> submission -> follow -> outcome
    stack_verbs.py, batch_verbs.py, logs.py   the other verbs
    preflight.py, ways_out.py, ollama.py      what is wrong with a file, said before anything is started
    session.py    the server a run uses: a named one, the running stack, or a stack of its own
    follow.py     look at batches until they end; live.py shows it on a terminal or as lines
    progress.py, summary.py, failures.py, words.py   PURE: numbers to text

Exit codes: 0 all well, 1 some items failed, 2 wrong input or usage, 3 the stack or the server could not be
started or reached, 130 after Ctrl-C (but 0 where it is the way to end: `up`, `sim`), 70 a bug of ours. Progress and
errors go to stderr, results to stdout.
"""
