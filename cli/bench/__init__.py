"""The benchmark: Weir beside the limits of what it is made of, in one run, in turn, on servers of its own."""
