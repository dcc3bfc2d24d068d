"""Telemetry of a process: metrics, traces, and log lines with ids."""
