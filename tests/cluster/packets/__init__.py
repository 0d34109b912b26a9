"""Who reaches whom, found out with real packets: a responder, a prober, and both put together."""
