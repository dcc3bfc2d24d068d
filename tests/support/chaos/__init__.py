"""Chaos tests inject faults into the real processes and check that no work is lost or done twice."""
