"""Telemetry of a process: metrics, traces and JSON log lines."""
