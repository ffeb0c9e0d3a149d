"""`reconcile kubeconfig`: where the kubeconfig is, for everything else that speaks to Kubernetes."""

from __future__ import annotations

import click

from .errors import NoControlPlane
from .locate import find_data_dir
from .printing import examples


@click.command("kubeconfig", epilog=examples("export KUBECONFIG=$(reconcile kubeconfig)", "kubectl get pods"))
@click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
def command(data_dir: str | None) -> None:
    """Print the path of the kubeconfig that `up` wrote."""
    found = find_data_dir(data_dir)
    if found is None or not (found / "kubeconfig").exists():
        raise NoControlPlane(
            f"no kubeconfig {f'in {found}' if found else 'here'}; start a control plane with `reconcile up FOLDER`"
        )
    click.echo(found / "kubeconfig")
