"""A server that does what it is told, a JSON object a line of stdin.

Prints its address on the first line of stdout, then answers each line by
"ok", "ok VALUE" or "error: ...".  Ends with stdin, so that it never outlives
whoever started it.
"""

import json
import socket
import sys
import threading


def serve(state, accept, obey, host="127.0.0.1", port=0):
    """accept(state, listener) for ever, in a thread; obey(state, command) with
    the condition state.changed held."""
    listener = socket.create_server((host, int(port)), backlog=50)
    threading.Thread(target=accept, args=(state, listener), daemon=True).start()
    print(f"{host}:{listener.getsockname()[1]}", flush=True)
    for line in sys.stdin:
        try:
            with state.changed:
                answer = obey(state, json.loads(line))
                state.changed.notify_all()
            print("ok" if answer is None else f"ok {answer}", flush=True)
        except (KeyError, TypeError, ValueError) as error:
            print(f"error: {error!r}", flush=True)
