"""What an operator sees of a running process: metrics, traces, and the ids in its log lines."""
