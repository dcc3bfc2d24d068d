"""The code that runs processes: supervision, heartbeats, limits, logging and trace export."""
