"""`scopeway demo`: real clouds, real Envoys and this control plane on loopback."""

import click


@click.command()
def demo() -> None:
    """Show one scoped request with three small clouds of real OpenStack services."""
    from control_plane.demo import run_demo

    run_demo()
