"""Tables in and out: files of rows become requests, answers become columns beside them.

    rows.py        a row, a new column, what can be wrong with a cell
    csv_format.py, jsonl_format.py, parquet_format.py
                   read rows one by one, write them again with more columns; formats.py picks by the file's name
    template.py    `Classify: {text}` with a row's values
    asking.py      what is asked of each row: one line of a batch's input file
    cutting.py     one pass over a table: check every row, and cut the requests into parts that a server takes
    answers.py     an answer as the values of the new columns
    joining.py     a part's answers beside the rows that they are about

Nothing here knows a server or a command line; every step holds a few rows, whatever the table's size.
"""
