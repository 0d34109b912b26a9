"""Reachability measured with real packets: a responder, a prober, and both put together."""
