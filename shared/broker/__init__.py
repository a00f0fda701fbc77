"""The broker: connections that come back, the topology, the wire format, and group commit."""
