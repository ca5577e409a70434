"""``python -m cdc_sync.typesense_standin --port P --api-key K [--data-dir DIR]``."""

import argparse

from .standin import HOST, serve


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="typesense-standin", description="A stand-in for Typesense v29.0, loopback only."
    )
    parser.add_argument("--port", type=int, default=8108)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--data-dir", help="keep the data here over a restart")
    parser.add_argument("--host", default=HOST, help="only 127.0.0.1 is accepted")
    arguments = parser.parse_args()
    serve(arguments.port, arguments.api_key, arguments.data_dir, arguments.host)


if __name__ == "__main__":
    main()
