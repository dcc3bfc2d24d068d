"""The code that uses PostgreSQL. PostgreSQL stores all state, including the queue.

The folder sql/ contains long SQL statements, and the folder functions/ contains the database functions. To run a file
from sql/ in psql, first set its parameters, for example with `\\set limit 10`.
"""
