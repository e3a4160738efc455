"""Other ways to decide which rules fire, each in a module of its own, on the work of `workload`."""
