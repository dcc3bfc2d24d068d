"""The code that uses PostgreSQL. PostgreSQL stores all state and is also the queue.

Long statements are stored in sql/, and database functions in functions/. To run a file from sql/ in psql, first set its
parameters, for example with `\\set limit 10`.
"""
