"""The code that uses PostgreSQL. PostgreSQL stores all state and is also the queue.

Long statements are files in sql/, and database functions are files in functions/. To run a file of sql/ in psql, first
set its parameters, for example with `\\set limit 10`.
"""
