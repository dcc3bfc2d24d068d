"""Processes: supervision, heartbeats, limits, logging and trace export."""
