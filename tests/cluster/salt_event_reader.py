"""Runs on the master: every event of its bus as a line of JSON, until stdin ends.

A line that comes in is fired as an event of its own, with the line as its tag: once it comes out,
everything that was on the bus before it has come out too.
"""

import json
import select
import sys

import salt.config
import salt.utils.event


def main():
    options = salt.config.master_config("/etc/salt/master")
    with salt.utils.event.get_event("master", opts=options, listen=True) as bus:
        while True:
            if select.select([sys.stdin], [], [], 0)[0]:
                tag = sys.stdin.readline().strip()
                if not tag:
                    return
                bus.fire_event({}, tag)
            event = bus.get_event(wait=0.1, full=True)
            if event:
                print(json.dumps(event, default=str), flush=True)


main()
