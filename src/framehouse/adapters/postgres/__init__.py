"""PostgreSQL holds truth and queue. A statement of more than a few lines is a file in sql/, a function in functions/.

psql runs these files once their names are set, for example with `\\set limit 10`.
"""
