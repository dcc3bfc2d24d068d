"""Postgres: truth and queue. SQL over a few lines stands in sql/verb_noun.sql and runs in psql as it is."""
