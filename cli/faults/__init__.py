"""`weir faults`: break Weir on servers of its own, and judge what is left."""
