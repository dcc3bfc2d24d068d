"""Everything that uses PostgreSQL, which stores all state and is also the queue.

A statement of more than a few lines is a file in sql/; a database function is a file in functions/. psql can run the
files in sql/ after their parameters are set, for example with `\\set limit 10`.
"""
