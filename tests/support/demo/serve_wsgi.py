"""Serves one OpenStack WSGI application with waitress.

Executed by the Python of the OpenStack environment, which has no Scopeway in it that matters:
only the standard library, waitress and the service itself may be imported here.

    serve_wsgi.py MODULE ADDRESS PORT [ARGUMENT ...]

The arguments are for the service.
"""

import importlib
import sys

# The token carries the scope: at most 2 KB more than a token of a few hundred bytes.
MAX_HEADER_BYTES = 64 * 1024
THREADS = 6
MAX_BODY_BYTES = 1 << 40  # images


def main() -> None:
    """Listens once the application is made: an open port means that it answers."""
    module, address, port, *arguments = sys.argv[1:]
    sys.argv = [
        module,
        *arguments,
    ]  # services read it when they are imported, also to name their logs
    application = importlib.import_module(module).application
    waitress = importlib.import_module("waitress")
    waitress.serve(
        application,
        host=address,
        port=int(port),
        threads=THREADS,
        ident=None,
        clear_untrusted_proxy_headers=False,  # X-Forwarded-* come from the site's own Envoy
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=MAX_BODY_BYTES,
        channel_timeout=600,
    )


if __name__ == "__main__":
    main()
