"""Measurements of the service: latency, capacity, memory, start-up time and the cost of each part.

Nothing here is a test. `python -m benchmarks` runs all of it; see README.md in this folder for the method.
"""
