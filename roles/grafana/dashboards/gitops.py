# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Argo CD delivers from Git, and whether it can. Where there is none, nothing shows."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.overview import SEVERITIES, summaries
from roles.grafana.dashboards.shared import (
    RUNBOOKS,
    YES_OR_NO,
    Query,
    Row,
    at_least,
    lines,
    made,
    none_at_all,
    rows,
    stat,
    states,
)
from roles.grafana.dashboards.usage import memory, processor

NOBODY = "pas d'Argo CD"
SYNC = {
    "Synced": ("Comme dans Git", "green"),
    "OutOfSync": ("Différente de Git", "orange"),
    "Unknown": ("Inconnue", "purple"),
}
HEALTH = {
    "Healthy": ("En service", "green"),
    "Progressing": ("Démarre", "blue"),
    "Suspended": ("En pause", "blue"),
    "Degraded": ("En panne", "red"),
    "Missing": ("Absente", "red"),
    "Unknown": ("Inconnue", "purple"),
}
PHASES = {
    "Succeeded": ("Réussie", "green"),
    "Running": ("En cours", "blue"),
    "Terminating": ("En cours d'arrêt", "orange"),
    "Failed": ("Échouée", "red"),
    "Error": ("En erreur", "red"),
}
# Alerts of Argo CD that fire, and for how long.
ALERTS = """
max by (severity, summary, alertname, name, server) (
  label_replace(
    time() - ALERTS_FOR_STATE{system="argocd"} and ignoring (alertstate) ALERTS{alertstate="firing", system="argocd"},
    "summary", "$1", "alertname", "(.*)"
  )
)
"""


def applications(*matchers: str) -> str:
    """Return the selector of the Applications that a matcher fits."""
    return f"argocd_app_info{{{', '.join(['job="argocd"', *matchers])}}}"


def counted(*matchers: str) -> str:
    """Count the Applications that a matcher fits: none of some is 0, none at all is nothing."""
    return f"count({applications(*matchers)}) or 0 * count({applications()})"


def known(expression: str, job: str) -> str:
    """Return what counts failures, which is not there before the first one: 0 until then."""
    return f'sum({expression}) or 0 * sum(up{{job="{job}"}})'


def gitops() -> dashboard.Dashboard:
    """Return the dashboard."""
    fits = "2 * max by (name) ({}) or max by (name) ({}) or 0 * max by (name) ({})"
    quantile = "histogram_quantile(0.95, sum by ({}) (rate({}[10m])))"
    return made(
        "plateforme-gitops",
        "GitOps : ce qui tourne est-il ce qui est dans Git ?",
        "Ce qu'Argo CD livre depuis Git, s'il y parvient, et ce qu'il utilise. La révision en service et les différences, ligne par ligne, "
        "se lisent sur la page d'Argo CD.",
        Row(
            "Maintenant",
            [
                stat(
                    "Applications suivies",
                    "Ce qu'Argo CD livre. Sans aucune, rien ne vient de Git.",
                    f"count({applications()})",
                    unit="none",
                    steps=at_least(1),
                    empty="aucune",
                ),
                stat(
                    "Différentes de Git",
                    "Livraison en attente, en échec, ou changement fait à la main ; l'alerte DeliveryOutOfSync part au bout d'une heure.",
                    counted('sync_status!="Synced"'),
                    unit="none",
                    steps=none_at_all("orange"),
                    empty=NOBODY,
                ),
                stat(
                    "En panne ou absentes",
                    "Ce qui est livré ne fonctionne pas ; l'alerte DeliveryDegraded part au bout de dix minutes.",
                    counted('health_status=~"Degraded|Missing"'),
                    unit="none",
                    steps=none_at_all(),
                    empty=NOBODY,
                ),
                stat(
                    "Dernière livraison en échec",
                    "Applications dont la dernière livraison a échoué : la même révision n'est pas essayée de nouveau.",
                    counted('phase=~"Error|Failed"'),
                    unit="none",
                    steps=none_at_all("orange"),
                    empty=NOBODY,
                ),
                stat(
                    "Cluster lisible",
                    "Argo CD lit-il l'état du cluster ? Sinon il ne compare et ne livre rien.",
                    'min(argocd_cluster_connection_status{job="argocd"})',
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    empty=NOBODY,
                ),
                stat(
                    "Alertes sur les livraisons",
                    "Alertes en cours sur Argo CD et ce qu'il livre.",
                    'count(ALERTS{alertstate="firing", system="argocd"}) or vector(0)',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
                rows(
                    "Applications",
                    "Chaque application : comparée à Git, en service ou non, et le résultat de sa dernière livraison.",
                    f"max by (name, sync_status, health_status, phase) ({applications()})",
                    {
                        "name": "Application",
                        "sync_status": "Comparée à Git",
                        "health_status": "État",
                        "phase": "Dernière livraison",
                    },
                    unit="none",
                    texts={"sync_status": SYNC, "health_status": HEALTH, "phase": PHASES},
                    height=7,
                    empty="Aucune application",
                ),
                rows(
                    "Alertes en cours",
                    "Ce qui est signalé, pour quelle application ou quel cluster, et depuis combien de temps. "
                    "Le nom de l'alerte ouvre la marche à suivre.",
                    ALERTS,
                    {
                        "severity": "Gravité",
                        "summary": "Ce qui se passe",
                        "name": "Application",
                        "server": "Cluster",
                        "Value": "Depuis",
                        "alertname": "Que faire",
                    },
                    unit="dtdhms",
                    texts={"severity": SEVERITIES, "summary": summaries()},
                    links={"alertname": ("Ouvrir la marche à suivre", f"{RUNBOOKS}docs/alerts.md#${{__value.raw}}")},
                    height=7,
                    empty="Aucune alerte",
                ),
            ],
        ),
        Row(
            "Les livraisons",
            [
                states(
                    "Comme dans Git",
                    "Une livraison normale est courte. Orange : inconnu, Argo CD n'a pas pu comparer.",
                    Query(
                        fits.format(
                            applications('sync_status="Synced"'),
                            applications('sync_status="Unknown"'),
                            applications(),
                        ),
                        "{{name}}",
                    ),
                    texts={0: ("Différente", "red"), 1: ("Inconnu", "orange"), 2: ("Comme dans Git", "green")},
                    empty=NOBODY,
                ),
                states(
                    "En service",
                    "Orange pendant un démarrage ou une pause ; rouge en panne, absente ou inconnue.",
                    Query(
                        fits.format(
                            applications('health_status="Healthy"'),
                            applications('health_status=~"Progressing|Suspended"'),
                            applications(),
                        ),
                        "{{name}}",
                    ),
                    texts={0: ("En panne", "red"), 1: ("Démarre", "orange"), 2: ("En service", "green")},
                    empty=NOBODY,
                ),
                lines(
                    "Livraisons par résultat",
                    "Depuis le démarrage du contrôleur : chaque marche est une livraison, à zéro quand il redémarre.",
                    Query('sum by (phase) (argocd_app_sync_total{job="argocd"})', "{{phase}}"),
                    unit="none",
                    names={"Succeeded": "Réussies", "Failed": "Échouées", "Error": "En erreur"},
                    empty="Aucune livraison",
                ),
                lines(
                    "Durée d'une comparaison",
                    "Temps pour comparer une application à Git : 95 % sont plus courtes, et moyenne, sur dix minutes.",
                    Query(quantile.format("le", 'argocd_app_reconcile_bucket{job="argocd"}'), "95 %"),
                    Query(
                        'sum(rate(argocd_app_reconcile_sum{job="argocd"}[10m])) / sum(rate(argocd_app_reconcile_count{job="argocd"}[10m]))',
                        "Moyenne",
                    ),
                    unit="s",
                    empty=NOBODY,
                ),
            ],
        ),
        Row(
            "Git et le cluster",
            [
                lines(
                    "Lectures du dépôt Git",
                    "Par tranche de dix minutes. Des échecs qui durent un quart d'heure déclenchent l'alerte DeliveryRepositoryFails.",
                    Query(
                        'sum by (request_type) (increase(argocd_git_request_total{job="argocd-repo-server"}[10m]))',
                        "{{request_type}}",
                    ),
                    Query(
                        known(
                            'increase(argocd_git_lsremote_fail_total{job="argocd-repo-server"}[10m])',
                            "argocd-repo-server",
                        ),
                        "Révisions : échecs",
                    ),
                    Query(
                        known(
                            'increase(argocd_git_fetch_fail_total{job="argocd-repo-server"}[10m])', "argocd-repo-server"
                        ),
                        "Contenu : échecs",
                    ),
                    unit="none",
                    names={"ls-remote": "Révisions", "fetch": "Contenu"},
                    empty=NOBODY,
                ),
                lines(
                    "Durée d'une lecture du dépôt",
                    "95 % sont plus courtes, sur dix minutes.",
                    Query(
                        quantile.format(
                            "le, request_type",
                            'argocd_git_request_duration_seconds_bucket{job="argocd-repo-server"}',
                        ),
                        "{{request_type}}",
                    ),
                    unit="s",
                    names={"ls-remote": "Révisions", "fetch": "Contenu"},
                    empty=NOBODY,
                ),
                states(
                    "Cluster lisible dans le temps",
                    "Argo CD lit-il l'état du cluster ?",
                    Query('min by (server) (argocd_cluster_connection_status{job="argocd"})', "{{server}}"),
                    texts={0: ("Illisible", "red"), 1: ("Lisible", "green")},
                    empty=NOBODY,
                ),
                lines(
                    "Signalements à Alertmanager",
                    "Depuis le démarrage : ce qu'Argo CD signale de lui-même. Les échecs sont essayés de nouveau chaque minute.",
                    Query(
                        known(
                            'argocd_notifications_deliveries_total{job="argocd-notifications", succeeded="true"}',
                            "argocd-notifications",
                        ),
                        "Arrivés",
                    ),
                    Query(
                        known(
                            'argocd_notifications_deliveries_total{job="argocd-notifications", succeeded="false"}',
                            "argocd-notifications",
                        ),
                        "En échec",
                    ),
                    unit="none",
                    height=6,
                    empty=NOBODY,
                ),
            ],
        ),
        Row(
            "Les programmes d'Argo CD",
            [
                states(
                    "Programmes en marche",
                    "Répondent-ils à la supervision ? Rouge dès qu'un pod ne répond plus.",
                    Query('min by (job) (up{job=~"argocd(-.+)?"})', "{{job}}"),
                    texts={0: ("Ne répond plus", "red"), 1: ("En marche", "green")},
                    span=24,
                    empty=NOBODY,
                ),
                memory("argocd", "À 100 % le conteneur est arrêté (OOMKilled) ; ce qui tourne n'en souffre pas."),
                processor("argocd", "Un contrôleur occupé sans livraison compare sans cesse."),
            ],
        ),
        since="now-24h",
    )
